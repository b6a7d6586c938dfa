"""A server that speaks the transit engine's protocol, for tests.

It follows the published interface of HashiCorp Vault's transit engine for what the gateway calls:
``POST /v1/{mount}/encrypt|decrypt/{key}`` with base64 texts and associated data, ciphertexts
``vault:v{version}:…`` (AES-256-GCM), rotation, tokens, errors as lists, 503 while sealed. It is
not the real server: no policies, namespaces, leases, TLS or key types, and its own idea of what
else might be wrong with a request. No package that can be had here holds the real one.
"""

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "s.token-of-the-gateway"


class TransitServer:
    """One engine, mounted at ``transit``."""

    def __init__(self):
        self.keys = {"gateway": [AESGCM.generate_key(256)], "private": [AESGCM.generate_key(256)]}
        self.is_sealed = False
        self.calls = []
        engine = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = engine.answer(self.path, self.headers["X-Vault-Token"], body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def rotate(self, key):
        self.keys[key].append(AESGCM.generate_key(256))

    def answer(self, path, token, body):
        self.calls.append(path)
        if self.is_sealed:
            return 503, {"errors": ["Vault is sealed"]}
        _, version, mount, verb, key = path.split("/")
        if (version, mount) != ("v1", "transit"):
            return 404, {"errors": ["no handler for route"]}
        if token != TOKEN or key not in self.keys:
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        associated = base64.b64decode(body.get("associated_data", ""))
        if verb == "encrypt":
            return 200, {"data": self._encrypt(key, body["plaintext"], associated)}
        return self._decrypt(key, body["ciphertext"], associated)

    def _encrypt(self, key, plaintext, associated):
        version, nonce = len(self.keys[key]), os.urandom(12)
        cipher = AESGCM(self.keys[key][-1])
        sealed = nonce + cipher.encrypt(nonce, base64.b64decode(plaintext), associated)
        text = base64.b64encode(sealed).decode()
        return {"ciphertext": f"vault:v{version}:{text}", "key_version": version}

    def _decrypt(self, key, ciphertext, associated):
        try:
            _, version, text = ciphertext.split(":")
            sealed = base64.b64decode(text)
            cipher = AESGCM(self.keys[key][int(version[1:]) - 1])
            opened = cipher.decrypt(sealed[:12], sealed[12:], associated)
        except (InvalidTag, ValueError, IndexError):
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(opened).decode()}}
