import { writeFile } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { endpoints, MAX_BODY_BYTES } from "../../../../shared/api/endpoints.ts";
import { CommandError } from "../../../../shared/cli/failure.ts";
import { ApiUnderTest } from "./http.ts";
import { cursorAt, imageSave, mainSink, notify, subscription, webhookSink } from "./scripted-events.ts";
import { EPOCH, web } from "./scripted-service.ts";

const happyPaths: [name: string, method: string, path: string, body: unknown, answer: unknown][] = [
  ["listVms", "GET", "/v1/vms", undefined, { vms: [web] }],
  ["showVm", "GET", `/v1/vms/${web.id}`, undefined, web],
  ["forgetVm", "DELETE", "/v1/vms/web", undefined, {}],
  ["listKeys", "GET", "/v1/vms/web/keys?prefix=a.", undefined, { revision: 1, entries: [] }],
  ["getKey", "GET", "/v1/vms/web/keys/a", undefined, { epoch: EPOCH, entry: { key: "a", value: "v" } }],
  ["sendMessage", "POST", "/v1/vms/web/messages", { method: "clear" }, { messageId: "m1", state: "delivered" }],
  ["listSent", "GET", "/v1/vms/web/messages?limit=5", undefined, { receipts: [{ messageId: "m1" }] }],
  ["listReceived", "GET", "/v1/vms/web/received", undefined, { received: [{ data: { deep: { er: [1] } } }] }],
  ["getReceipt", "GET", "/v1/messages/m2?waitFor=delivered&waitMs=10", undefined, { messageId: "m2" }],
  ["infoVm", "GET", "/v1/vms/web/info", undefined, { hostname: "web" }],
  ["pingVm", "POST", "/v1/vms/web/ping", undefined, { roundTripMs: 1.5 }],
  ["statsVm", "GET", "/v1/vms/web/stats", undefined, { cpus: 2, disks: [{ path: "/" }] }],
  ["listHealth", "GET", "/v1/monitor", undefined, { vms: [{ vm: { name: "web" }, state: "healthy" }] }],
  ["showHealth", "GET", "/v1/vms/web/monitor", undefined, { vm: { name: "web" }, state: "healthy" }],
  ["listEvents", "GET", "/v1/events?limit=5&vm=web*&type=VM.*", undefined, { events: [], next: cursorAt(0) }],
  ["listSinks", "GET", "/v1/sinks", undefined, { sinks: [mainSink, webhookSink] }],
  ["listDeadLetters", "GET", "/v1/sinks/s1.1/dead-letters", undefined, { deadLetters: [{ attempts: 9 }] }],
  ["listDeliveries", "GET", "/v1/sinks/config:main/deliveries?limit=5", undefined, { deliveries: [{ status: 204 }] }],
  ["redeliver", "POST", "/v1/sinks/config%3Amain/redeliver", {}, { redelivered: 2 }],
  ["enableSink", "POST", "/v1/sinks/s1.1/enable", undefined, webhookSink],
  ["testSink", "POST", "/v1/sinks/s1.1/test", undefined, { outcome: "delivered" }],
  ["listSubscriptions", "GET", "/v1/subscriptions", undefined, { subscriptions: [subscription] }],
  ["createSubscription", "POST", "/v1/subscriptions", { name: "dns", endpoints: ["https://x"] }, { name: "dns" }],
  ["showSubscription", "GET", "/v1/subscriptions/s1", undefined, subscription],
  ["changeSubscription", "PUT", "/v1/subscriptions/s1", { name: "dns2" }, { name: "dns2" }],
  ["removeSubscription", "DELETE", "/v1/subscriptions/s1", undefined, {}],
  ["listNotify", "GET", "/v1/vms/web/notify", undefined, { notify: [notify] }],
  ["addNotify", "POST", "/v1/vms/web/notify", { coordinates: "h,v,u,p,q" }, notify],
  ["removeNotify", "DELETE", "/v1/vms/web/notify/n1", undefined, {}],
  ["saveImage", "POST", "/v1/vms/web/image-saves", { directory: "/srv/images" }, imageSave],
  ["listImageSaves", "GET", "/v1/image-saves?vm=web", undefined, { imageSaves: [imageSave] }],
  ["showImageSave", "GET", "/v1/image-saves/i1", undefined, imageSave],
  ["cancelImageSave", "DELETE", "/v1/image-saves/i1", undefined, { state: "cancelled" }],
  ["listUsers", "GET", "/v1/users", undefined, { users: [{ name: "alice" }] }],
  ["changeUser", "PUT", "/v1/users/carol", { role: "read" }, { name: "carol" }],
  ["removeUser", "DELETE", "/v1/users/carol", undefined, {}],
  ["listTokens", "GET", "/v1/tokens", undefined, { tokens: [{ id: "t1" }] }],
  ["createToken", "POST", "/v1/tokens", { user: "alice" }, { token: "vmm_secret", label: "" }],
  ["revokeToken", "DELETE", "/v1/tokens/t1", undefined, {}],
  ["listAudit", "GET", "/v1/audit?limit=1&before=9", undefined, { records: [{ id: 1, outcome: "ok" }] }],
  ["health", "GET", "/health", undefined, { status: "ok", links: { up: 1 } }],
];

test.for(happyPaths)("%s is answered", async ([, method, path, body, answer]) => {
  await using api = await ApiUnderTest.start();
  const sent = body === undefined ? [] : ["-H", "Content-Type: application/json", "-d", JSON.stringify(body)];
  const { status, headers, json } = await api.curl(path, "-X", method, ...sent);
  expect(status).toBe(200);
  expect(json).toMatchObject(answer as object);
  expect(headers).toMatchObject({
    "content-type": [expect.stringContaining("application/json")],
    "cache-control": ["no-store"],
  });
});

test("every endpoint without a stream is tried above", () => {
  const streams = Object.entries(endpoints).filter(([, endpoint]) => "stream" in endpoint);
  const tried = [...happyPaths.map(([name]) => name), ...streams.map(([name]) => name)];
  expect(tried.sort()).toEqual(Object.keys(endpoints).sort());
});

test("the service is asked with parameters of the right types, and with defaults", async () => {
  await using api = await ApiUnderTest.start();
  await api.curl("/v1/vms/web/messages?limit=5");
  await api.curl("/v1/vms/web/keys");
  await api.curl("/v1/audit?before=7");
  await api.post("/v1/vms/web/messages", { method: "clear" });
  expect(api.service.asked.map((asked) => asked.arguments)).toEqual([
    ["web", 5],
    ["web", ""],
    [{ before: 7 }],
    ["web", { method: "clear", params: {} }],
  ]);
});

test("the members of a filter may be there once, many times, or not at all", async () => {
  await using api = await ApiUnderTest.start();
  await api.curl("/v1/events");
  await api.curl(`/v1/events?vm=web&type=VM.*&category=AlertEvent&key=a.&since=${cursorAt(0)}&values=true&limit=7`);
  await api.curl("/v1/events?vm=web&vm=db*&type=VM.*&type=KEY.SET&key=&values=false");
  expect(api.service.asked.map((asked) => asked.arguments)).toEqual([
    [{ filter: {}, since: undefined, values: false }, 50],
    [
      {
        filter: { vms: ["web"], types: ["VM.*"], categories: ["AlertEvent"], keys: ["a."] },
        since: cursorAt(0),
        values: true,
      },
      7,
    ],
    [{ filter: { vms: ["web", "db*"], types: ["VM.*", "KEY.SET"], keys: [""] }, since: undefined, values: false }, 50],
  ]);
});

test("a subscription has defaults where nothing is said, and a change has none", async () => {
  await using api = await ApiUnderTest.start();
  await api.post("/v1/subscriptions", { name: "dns", endpoints: ["https://x"] });
  await api.post("/v1/subscriptions/s1", { values: true }, "-X", "PUT");
  expect(api.service.asked.map((asked) => asked.arguments)).toEqual([
    [{ name: "dns", endpoints: ["https://x"], filter: {}, values: false, format: "cloudevents" }],
    ["s1", { values: true }],
  ]);
});

test("metrics are Prometheus' text", async () => {
  await using api = await ApiUnderTest.start();
  const { body, headers } = await api.curl("/metrics");
  expect(body).toBe('vmmessage_links{state="up"} 1\n');
  expect(headers["content-type"]).toEqual(["text/plain; version=0.0.4; charset=utf-8"]);
});

test.for([
  "a/b",
  "../../etc/passwd",
  "100%25",
  "100%",
  "ключ/日本",
  "with space inside",
  "?#&+;",
  "__proto__",
  ".",
  "é".repeat(128),
])("the key %s arrives as it is", async (key) => {
  await using api = await ApiUnderTest.start();
  const { json } = await api.curl(`/v1/vms/web/keys/${encodeURIComponent(key)}`);
  expect(json).toMatchObject({ entry: { key } });
});

test("a key written `..%2f` is a key, and not a way up", async () => {
  await using api = await ApiUnderTest.start();
  const { json } = await api.curl("/v1/vms/web/keys/..%2f..%2Fhealth");
  expect(json).toMatchObject({ entry: { key: "../../health" } });
});

test("what a guest put into an answer beyond the schema is left out, and the rest cannot break it", async () => {
  await using api = await ApiUnderTest.start();
  const value = '\u0000\u001b]0;\u0007"}\u2028\r\n\u009b</script>\\';
  api.service.entry = { value, extra: { constructor: 1 }, toJSON: "x", messageId: "m" };
  const { status, json } = await api.curl("/v1/vms/web/keys/a");
  expect(status).toBe(200);
  expect(json).toMatchObject({ entry: { value, messageId: "m" } });
  expect(json).not.toHaveProperty("entry.extra");
  expect(json).not.toHaveProperty("entry.toJSON");
});

test("an answer that is not as the schema says is a bug: told in the log, not to the client", async () => {
  await using api = await ApiUnderTest.start();
  api.service.entry = { value: "v", revision: "secret-thing" };
  const { status, body, json } = await api.curl("/v1/vms/web/keys/a");
  expect({ status, json }).toMatchObject({ status: 500, json: { code: "failed", status: 500 } });
  expect(body).not.toContain("secret-thing");
  expect(api.log.lines).toContainEqual(expect.objectContaining({ level: "error", event: "request-failed" }) as unknown);
});

test("a bug of the service's is a 500 without its words", async () => {
  await using api = await ApiUnderTest.start();
  api.service.before = () => {
    throw new TypeError("undefined is not a secret");
  };
  const { status, body } = await api.curl("/health");
  expect(status).toBe(500);
  expect(body).not.toContain("undefined");
  expect(api.log.lines.filter(({ level }) => level === "error")).toHaveLength(1);
});

test.for([
  ["no-such-key", {}, 404],
  ["failed", {}, 422],
  ["failed", { unknownVm: true }, 404],
  ["failed", { unknown: true }, 404],
  ["usage", {}, 400],
  ["over-limit", { limit: 3 }, 413],
  ["conflict", {}, 409],
  ["not-permitted", {}, 403],
  ["unreachable", {}, 503],
  ["unconfirmed", {}, 504],
  ["held", {}, 423],
] as const)("a failure %s %o is a problem with status %i", async ([code, details, expected]) => {
  await using api = await ApiUnderTest.start();
  api.service.before = () => {
    throw new CommandError(code, "what we saw", details);
  };
  const { status, headers, json } = await api.curl("/v1/vms/web/keys/a");
  expect(status).toBe(expected);
  expect(headers["content-type"]?.[0]).toContain("application/problem+json");
  expect(json).toMatchObject({ type: "about:blank", status: expected, detail: "what we saw", code });
  expect((json as { details?: unknown }).details ?? {}).toEqual(details);
  expect(api.log.lines.filter(({ level }) => level !== "info")).toEqual([]);
});

const json = ["-H", "Content-Type: application/json"];
const bad: [what: string, path: string, options: string[], status: number, detail: string][] = [
  ["malformed JSON", "/v1/fleet", [...json, "-d", "{"], 400, "the body is not JSON"],
  ["an empty body that is said to be JSON", "/v1/fleet", [...json, "-X", "POST"], 400, "body"],
  ["no body", "/v1/fleet", ["-X", "POST"], 400, "body: "],
  ["a form", "/v1/fleet", ["-d", "a=b"], 415, "Content-Type: application/json"],
  ["text", "/v1/fleet", ["-H", "Content-Type: text/plain", "-d", "{}"], 415, "Content-Type: application/json"],
  ["an unknown route", "/v2/vms", [], 404, "there is no GET /v2/vms; see /openapi.json"],
  ["a wrong method", "/v1/fleet", [], 405, "it has POST"],
  ["a method of no route", "/v1/vms", ["-X", "PATCH"], 405, "it has GET"],
  ["a preflight", "/v1/vms", ["-X", "OPTIONS"], 405, "it has GET"],
  ["a method that is none", "/v1/vms", ["-X", "FROB"], 400, "this is not HTTP/1.1"],
  ["bad percent-encoding", "/v1/vms/%ff", [], 400, "percent-encoded UTF-8"],
  ["half a percent-encoding", "/v1/vms/web/keys/a%2", [], 400, "percent-encoded UTF-8"],
  ["a key that is too long", `/v1/vms/web/keys/${"a".repeat(257)}`, [], 400, "a key of 257 bytes"],
  ["a part of the path that is too long", `/v1/vms/${"a".repeat(769)}`, [], 414, "over 768 bytes"],
  ["a control character in a key", "/v1/vms/web/keys/a%00b", [], 400, "control characters"],
  ["a number that is none", "/v1/vms/web/messages?limit=many", [], 400, "querystring: limit: "],
  ["a number twice", "/v1/vms/web/messages?limit=1&limit=2", [], 400, "querystring: limit: "],
  ["a number that is too large", "/v1/vms/web/messages?limit=1001", [], 400, "querystring: limit: "],
  ["a misspelt parameter", "/v1/vms/web/messages?limt=1", [], 400, "limt"],
  ["a parameter where there is none", "/health?verbose=1", [], 400, "verbose"],
  ["a place that is none", "/v1/vms/web/watch?since=yesterday", [], 400, "must be EPOCH:REVISION"],
  ["a cursor that is none", "/v1/events?since=yesterday", [], 400, "must be LOG:POSITION"],
  ["a cursor of another log", `/v1/events?since=${"f".repeat(16)}:1`, [], 409, "another log"],
  ["a category that is none", "/v1/events?category=AlertEvent&category=Alert", [], 400, "querystring: category[1]: "],
  ["a type that cannot be", "/v1/events?type=vm.stopped", [], 400, "must be an event's type"],
  ["too many types", `/v1/events?${"type=VM.*&".repeat(101)}`, [], 400, "querystring: type: "],
  ["a choice that is none", "/v1/events/stream?values=yes", [], 400, "querystring: values: "],
  ["an unknown sink", "/v1/sinks/nope/deliveries", [], 404, "there is no sink 'nope'"],
  ["an unknown subscription", "/v1/subscriptions/nope", [], 404, "there is no subscription 'nope'"],
  ["a subscription to nothing", "/v1/subscriptions", [...json, "-d", '{"name":"x","endpoints":[]}'], 400, "endpoints"],
  ["an image in no place", "/v1/vms/web/image-saves", [...json, "-d", '{"directory":"x"}'], 400, "absolute path"],
  ["an unknown VM", "/v1/vms/nope", [], 404, "there is no VM 'nope'"],
  ["a short password", "/v1/users/eve", [...json, "-X", "PUT", "-d", '{"password":"x"}'], 400, "at least 8"],
  ["a web page", "/v1/vms", ["-H", "Origin: https://evil.example"], 403, "web pages"],
  ["a prototype in the body", "/v1/tokens", [...json, "-d", '{"user":"a","__proto__":{"label":"x"}}'], 400, "not JSON"],
];

test.for(bad)("%s is a problem that says what is needed", async ([, path, options, expected, detail]) => {
  await using api = await ApiUnderTest.start();
  const { status, headers, json: problem } = await api.curl(path, ...options);
  expect(status).toBe(expected);
  expect(headers["content-type"]?.[0]).toContain("application/problem+json");
  expect(headers["cache-control"]).toEqual(["no-store"]);
  expect(problem).toMatchObject({ status: expected, detail: expect.stringContaining(detail) as unknown });
  expect(api.log.lines.filter(({ level }) => level === "error")).toEqual([]);
});

test("a wrong method is told the right ones", async () => {
  await using api = await ApiUnderTest.start();
  const { headers } = await api.curl("/v1/vms/web", "-X", "POST");
  expect(headers["allow"]).toEqual(["GET, DELETE"]);
});

test("a body that is over the limit is refused, whether it says so first or not", async () => {
  await using api = await ApiUnderTest.start();
  const file = `${api.directory}/body`;
  await writeFile(file, JSON.stringify({ method: "clear", pad: "x".repeat(MAX_BODY_BYTES) }));
  const told = await api.curl("/v1/vms/web/messages", ...json, "--data-binary", `@${file}`);
  expect(told).toMatchObject({ status: 413, json: { code: "over-limit" } });
  const chunked = ["-H", "Transfer-Encoding: chunked"];
  const untold = await api.curl("/v1/vms/web/messages", ...json, ...chunked, "--data-binary", `@${file}`);
  expect(untold).toMatchObject({ status: 413, json: { code: "over-limit" } });
  expect(api.service.asked).toEqual([]);
});

test("a body that is not UTF-8 is refused, not guessed", async () => {
  await using api = await ApiUnderTest.start();
  const body = Buffer.from('{"user":"alice","label":"\u00e9"}', "latin1");
  const head = `POST /v1/tokens HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  using client = await api.connect(Buffer.concat([Buffer.from(head), body]));
  await vi.waitUntil(() => client.received.includes("the body is not UTF-8"));
  expect(client.received).toContain("400 Bad Request");
});

test("a body nested very deeply is refused like any other", async () => {
  await using api = await ApiUnderTest.start();
  const file = `${api.directory}/body`;
  await writeFile(file, `{"user":"alice","label":${"[".repeat(400_000)}${"]".repeat(400_000)}}`);
  const { status } = await api.curl("/v1/tokens", ...json, "--data-binary", `@${file}`);
  expect(status).toBe(400);
});
