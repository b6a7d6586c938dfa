"""Signing in to the review page: cookies, forms, keys that are lost, and who comes too often."""

import httpx
import pytest

from app.api.answer_headers import SECURITY
from app.api.review_sessions import IDLE_S, LONGEST_S, Sessions, cookie_of
from tests.api.conftest import House
from tests.api.review.desk import Browser, Desk

pytestmark = pytest.mark.db
KEY = bytes(range(32))


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_without_a_session_every_page_leads_to_the_sign_in(anybody: Browser) -> None:
    for path in ("/review", "/review/rules", "/review/session", "/review/objects/DEMO/next"):
        answer = await anybody.get(path)

        assert (answer.status_code, answer.headers["Location"]) == (303, "/review/sign-in")


async def test_a_key_with_the_scope_signs_in(anybody: Browser, desk: Desk, house: House) -> None:
    answer = await anybody.sign_in(await desk.key("anna"))
    page = await anybody.get("/review")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/review")
    assert "Signed in as <b>anna</b>" in page.text
    assert house.outcomes("review-sign-in") == ["success"]


async def test_the_cookie_is_for_this_site_and_no_script(anybody: Browser, desk: Desk) -> None:
    answer = await anybody.sign_in(await desk.key())
    name, *rules = answer.headers["Set-Cookie"].split("; ")

    assert name.startswith("deid-review=")
    assert rules == ["Path=/review", f"Max-Age={IDLE_S}", "HttpOnly", "SameSite=Strict"]


async def test_over_tls_the_cookie_goes_over_tls_only(anybody: Browser) -> None:
    anybody.client.base_url = httpx.URL("https://gateway.test")

    answer = await anybody.get("/review/sign-in")

    assert answer.headers["Set-Cookie"].endswith("; Secure")


async def test_the_cookie_tells_nothing_of_the_key(anybody: Browser, desk: Desk) -> None:
    token = await desk.key()

    answer = await anybody.sign_in(token)

    assert token.rpartition("_")[2] not in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("scopes", "status", "said"),
    [(["anonymize"], 403, "lacks the scope review"), (["review", "audit"], 303, "")],
)
async def test_the_scope_decides(
    anybody: Browser, desk: Desk, scopes: list[str], status: int, said: str
) -> None:
    answer = await anybody.sign_in(await desk.key(scopes=scopes))

    assert answer.status_code == status
    assert said in answer.text


@pytest.mark.parametrize("key", ["", "nonsense", "a.b.c", f"dgw_abcdefgh_{'x' * 43}"])
async def test_a_wrong_key_is_refused_and_never_shown(anybody: Browser, key: str) -> None:
    answer = await anybody.sign_in(key)

    assert answer.status_code == 401
    assert "The key is not valid" in answer.text
    assert not key or key not in answer.text


async def test_wrong_keys_lock_the_sign_in(anybody: Browser, house: House) -> None:
    limit = house.gateway.settings.lockout_failures

    answers = [await anybody.sign_in("nonsense") for _ in range(limit + 1)]

    assert [answer.status_code for answer in answers] == [401] * limit + [429]
    assert answers[-1].headers["Retry-After"] == "60"
    assert "Try again in 60 seconds" in answers[-1].text


async def test_a_form_without_the_sessions_token_is_refused(anybody: Browser, desk: Desk) -> None:
    token = await desk.key()
    await anybody.get("/review/sign-in")
    anybody.csrf = "another"

    answer = await anybody.post("/review/sign-in", key=token)

    assert answer.status_code == 400
    assert "out of date" in answer.text


async def test_a_form_of_another_site_is_refused(reviewer: Browser) -> None:
    reviewer.client.headers["Sec-Fetch-Site"] = "cross-site"

    answer = await reviewer.post("/review/sign-out")

    assert answer.status_code == 400


async def test_the_session_before_signing_in_is_worth_nothing_afterwards(
    anybody: Browser, desk: Desk
) -> None:
    await anybody.get("/review/sign-in")
    before = anybody.client.cookies["deid-review"]
    await anybody.post("/review/sign-in", key=await desk.key())

    assert anybody.client.cookies["deid-review"] != before
    anybody.client.cookies.set("deid-review", before, domain="gateway.test", path="/review")
    assert (await anybody.get("/review")).headers["Location"] == "/review/sign-in?why=over"


async def test_who_signs_out_is_out_and_so_is_every_copy_of_the_cookie(reviewer: Browser) -> None:
    copy = reviewer.client.cookies["deid-review"]

    answer = await reviewer.post("/review/sign-out")

    assert answer.headers["Location"] == "/review/sign-in?why=out"
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert "deid-review" not in reviewer.client.cookies
    reviewer.client.cookies.set("deid-review", copy, domain="gateway.test", path="/review")
    assert (await reviewer.get("/review")).status_code == 303


async def test_a_revoked_key_ends_its_sessions(anybody: Browser, desk: Desk, house: House) -> None:
    token = await desk.key()
    await anybody.sign_in(token)
    await house.gateway.api_keys.revoke(token.split("_")[1])

    answer = await anybody.get("/review")

    assert answer.headers["Location"] == "/review/sign-in?why=revoked"


async def test_other_endpoints_do_not_listen_to_the_cookie(reviewer: Browser) -> None:
    cookie = f"deid-review={reviewer.client.cookies['deid-review']}"

    answer = await reviewer.client.get("/quarantine", headers={"Cookie": cookie})

    assert answer.status_code in {401, 404}


async def test_pages_run_nothing_but_our_own_files(anybody: Browser) -> None:
    answer = await anybody.get("/review/sign-in")
    policy = answer.headers["Content-Security-Policy"]

    assert answer.headers.get_list("Content-Security-Policy") == [policy]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Cache-Control"] == "no-store"
    for name, value in SECURITY[1:]:
        assert answer.headers[name.decode()] == value.decode()


async def test_a_cookie_that_does_not_open_counts_as_none(anybody: Browser) -> None:
    for cookie in ("", "x", "A" * 400, "=" * 40, "A" * 5000, "ä".encode().decode("latin-1")):
        header = f"deid-review={cookie}".encode("latin-1")

        answer = await anybody.client.get("/review", headers={b"Cookie": header})

        assert answer.headers["Location"].startswith("/review/sign-in")


async def test_who_comes_without_a_session_too_often_is_held_off(
    anybody: Browser, house: House
) -> None:
    house.gateway.callers.rates.anonymous._interval_s = 60.0
    bad = {"Cookie": "deid-review=nonsense"}

    answers = [await anybody.client.get("/review/sign-in", headers=bad) for _ in range(3)]

    assert [answer.status_code for answer in answers][-1] == 429


def test_a_session_ends_when_nothing_is_done() -> None:
    clock = Clock()
    sessions = Sessions(KEY, clock)
    cookie = sessions.sealed(sessions.begun("token"))

    clock.now += IDLE_S - 1
    assert sessions.opened(cookie) is not None
    clock.now += 1
    assert sessions.opened(cookie) is None


def test_no_session_lasts_longer_than_a_working_day() -> None:
    clock = Clock()
    sessions = Sessions(KEY, clock)
    session = sessions.begun("token")

    for _ in range(LONGEST_S // IDLE_S * 2):
        clock.now += IDLE_S / 2
        session = sessions.renewed(session)

    assert sessions.opened(sessions.sealed(session)) is None


def test_a_session_opens_in_another_process_with_the_same_key_only() -> None:
    cookie = Sessions(KEY).sealed(Sessions(KEY).begun("token"))

    assert Sessions(KEY).opened(cookie).token == "token"
    assert Sessions(bytes(32)).opened(cookie) is None


def test_an_altered_cookie_does_not_open() -> None:
    cookie = Sessions(KEY).sealed(Sessions(KEY).begun("token"))
    altered = cookie[:40] + ("A" if cookie[40] != "A" else "B") + cookie[41:]

    assert Sessions(KEY).opened(altered) is None


def test_two_cookies_of_the_name_are_none() -> None:
    assert cookie_of([(b"cookie", b"a=1; deid-review=x; b=2")]) == "x"
    assert cookie_of([(b"cookie", b"deid-review=x; deid-review=y")]) is None


def test_nothing_of_a_session_is_in_its_repr() -> None:
    session = Sessions(KEY).begun("secret-token")

    assert "secret-token" not in repr(session)
    assert session.csrf not in repr(session)
