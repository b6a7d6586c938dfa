"""A process that sends fifty instances of one study at once; prints the study's id."""

import asyncio
import sys
from pathlib import Path

from tests.mapping_house import make_keys, opened, originals


async def main(url: str, keys: str) -> None:
    async with opened(url, make_keys(Path(keys)), is_new=False) as house:
        made = await asyncio.gather(*[house.record(originals(n)) for n in range(50)])
    (cloud_study_id,) = {replacements.cloud_study_id for replacements in made}
    sys.stdout.write(cloud_study_id)


asyncio.run(main(sys.argv[1], sys.argv[2]))
