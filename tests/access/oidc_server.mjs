// An OpenID provider on the loopback interface for tests: oidc-provider with clients that get
// tokens for themselves. Commands come line by line on standard input, and each is answered by
// one line of JSON; the process ends with its standard input.
//
// rotate   publish and sign with another key
// down     stop answering
// up       answer again on the same port

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [packages] = process.argv.slice(2);
console.warn = console.info = () => {}; // notices for those who run it for real
const { Provider } = await import(
  pathToFileURL(`${packages}/node_modules/oidc-provider/lib/index.js`).href
);

const GATEWAY = "https://gateway.test";
const OTHER = "https://other.test";
const SCOPES = ["anonymize", "batch", "reidentify", "audit", "admin"].map((name) => `deid:${name}`);
const ORGANIZATIONS = {
  viewer: "DEMO",
  traveller: ["DEMO", "NOWHERE", "SOUTH"],
  stranger: undefined,
  foreigner: "NOWHERE",
};

function freshKeys() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const kid = randomUUID();
  return { keys: [{ ...privateKey.export({ format: "jwk" }), kid, use: "sig", alg: "RS256" }] };
}

function provider(issuer, jwks) {
  return new Provider(issuer, {
    jwks,
    clients: Object.keys(ORGANIZATIONS).map((client_id) => ({
      client_id,
      client_secret: "a secret for tests",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    })),
    scopes: SCOPES,
    extraTokenClaims: (ctx, token) => ({
      organization: ORGANIZATIONS[token.clientId],
      nested: { roles: token.scope ? token.scope.split(" ") : [] },
    }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => GATEWAY,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: SCOPES.join(" "),
          audience: resource,
          accessTokenFormat: "jwt",
          accessTokenTTL: 600,
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
    ttl: { ClientCredentials: 600 },
  });
}

function listening(port = 0) {
  const server = createServer((request, response) => server.answer(request, response));
  return new Promise((done) => server.listen(port, "127.0.0.1", () => done(server)));
}

const addressOf = (server) => `http://127.0.0.1:${server.address().port}`;
const say = (members) => console.log(JSON.stringify(members));

let jwks = freshKeys();
let server = await listening();
const { port } = server.address();
const issuer = addressOf(server);
let answer = provider(issuer, jwks).callback();
server.answer = (...exchange) => answer(...exchange);

// Has the same keys and another name.
const impostor = await listening();
impostor.answer = provider(addressOf(impostor), jwks).callback();

say({ issuer, impostor: addressOf(impostor), audience: GATEWAY, other: OTHER });
for await (const command of createInterface({ input: process.stdin })) {
  if (command === "rotate") {
    jwks = freshKeys();
    answer = provider(issuer, jwks).callback();
  } else if (command === "down") {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  } else if (command === "up") {
    server = await listening(port);
    server.answer = (...exchange) => answer(...exchange);
  }
  say({ done: command });
}
process.exit(0);
