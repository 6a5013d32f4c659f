import { once } from "node:events";
import { link, mkdir, readdir, readFile, readlink, rename, stat, symlink, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { expect, test, vi } from "vitest";
import { ApiServer } from "../../../../manager/api/server.ts";
import { ApiUnderTest, makeCertificate, RawClient, run } from "./http.ts";
import { aborted, EPOCH } from "./scripted-service.ts";

const right = ["-u", "alice:correct: horse"];

function bearer(token: string): string[] {
  return ["-H", `Authorization: Bearer ${token}`];
}

function failure(message: RegExp): unknown {
  return expect.objectContaining({ name: "CommandError", message: expect.stringMatching(message) as unknown });
}

test("a Unix socket stands for a principal of its own", async () => {
  await using api = await ApiUnderTest.start();
  await api.curl("/v1/vms");
  const name = `socket:${api.socketPath}`;
  const via = `unix:${api.socketPath}`;
  expect(api.service.asked[0]?.who).toEqual({ name, via, role: "admin", vms: ["*"], keys: [""] });
});

test.for([
  ["a password", right, "alice"],
  ["a token", bearer("vmm_good"), "bob"],
] as const)("%s that is given on a Unix socket says who asks", async ([, options, name]) => {
  await using api = await ApiUnderTest.start();
  await api.curl("/v1/vms", ...options);
  expect(api.service.asked[0]?.who).toMatchObject({ name, via: `unix:${api.socketPath}`, role: "write" });
});

test.for([
  ["a wrong password", ["-u", "alice:wrong"]],
  ["an unknown user", ["-u", "mallory:correct: horse"]],
  ["an expired token", bearer("vmm_expired")],
  ["Basic without a colon", ["-H", "Authorization: Basic YWxpY2U="]],
  ["another scheme", ["-H", "Authorization: Negotiate YWxpY2U="]],
  ["a scheme alone", ["-H", "Authorization: Bearer"]],
  ["an empty header", ["-H", "Authorization;"]],
] as const)("%s is refused on every door, and never falls back to the socket's principal", async ([, options]) => {
  await using api = await ApiUnderTest.start({ tls: true });
  for (const answer of [await api.curl("/v1/vms", ...options), await api.curlTls("/v1/vms", ...options)]) {
    expect(answer).toMatchObject({ status: 401, json: { code: "not-permitted", title: "Unauthorized" } });
    expect(answer.headers["www-authenticate"]).toEqual([
      'Basic realm="vmmessage", charset="UTF-8"',
      'Bearer realm="vmmessage"',
    ]);
  }
  expect(api.service.asked).toEqual([]);
});

test("too many failed attempts are told when to try again", async () => {
  await using api = await ApiUnderTest.start();
  const { status, headers, json } = await api.curl("/v1/vms", ...bearer("blocked"));
  expect({ status, retryAfter: headers["retry-after"] }).toEqual({ status: 429, retryAfter: ["5"] });
  expect(json).toMatchObject({ code: "not-permitted", details: { retryAfterMs: 4500 } });
});

test("a user without the role is refused by the service, as that user", async () => {
  await using api = await ApiUnderTest.start();
  const { status, json } = await api.curl("/v1/users", ...right);
  expect({ status, json }).toMatchObject({ status: 403, json: { code: "not-permitted" } });
});

test.for(["/health", "/openapi.json", "/metrics", "/v1/vms", "/nothing", "/v1/vms/web/watch"])(
  "over TLS, %s needs credentials",
  async (path) => {
    await using api = await ApiUnderTest.start({ tls: true });
    const { status } = await api.curlTls(path);
    expect(status).toBe(401);
    expect(api.service.asked).toEqual([]);
  },
);

test("a body is not read before it is known who sends it", async () => {
  await using api = await ApiUnderTest.start({ tls: true });
  const { status } = await api.curlTls("/v1/fleet", "-H", "Content-Type: application/json", "-d", "{");
  expect(status).toBe(401);
});

test("over TLS, a user is known by name and address", async () => {
  await using api = await ApiUnderTest.start({ tls: true });
  const { status, json } = await api.curlTls("/health", ...right);
  expect({ status, json }).toMatchObject({ status: 200, json: { status: "ok" } });
  await api.curlTls("/v1/vms", ...right);
  expect(api.service.asked.at(-1)?.who).toMatchObject({ name: "alice", via: "https:127.0.0.1" });
});

test("TLS older than 1.2 is refused", async () => {
  await using api = await ApiUnderTest.start({ tls: true });
  const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  const socket = connectTls({ port: api.tlsPort, host: "127.0.0.1", rejectUnauthorized: false, ...old });
  const [error] = (await once(socket, "error")) as [Error];
  expect(error.message).toMatch(/protocol version/);
});

test("plain HTTP on the TLS port is closed without an answer, and the port goes on", async () => {
  await using api = await ApiUnderTest.start({ tls: true });
  const socket = connect(api.tlsPort, "127.0.0.1");
  using client = await RawClient.open(socket, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await vi.waitUntil(() => client.isEnded);
  expect(client.received).toBe("");
  expect(await api.curlTls("/health", ...right)).toMatchObject({ status: 200 });
});

test("TLS on the Unix socket is told so, and the socket goes on", async () => {
  await using api = await ApiUnderTest.start();
  using client = await api.connect(await clientHello());
  await vi.waitUntil(() => client.isEnded);
  expect(client.received).toContain("400 Bad Request");
  expect(client.received).toContain("this is TLS; here plain HTTP is spoken, on a Unix socket");
  expect(await api.curl("/health")).toMatchObject({ status: 200 });
});

/** What a TLS client says first. */
async function clientHello(): Promise<Buffer> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const client = connectTls({ port: (listener.address() as AddressInfo).port, host: "127.0.0.1" });
  client.on("error", () => undefined);
  const [socket] = (await once(listener, "connection")) as [Socket];
  const [bytes] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  listener.close();
  return bytes;
}

test("bytes that are no HTTP are answered with a problem, and closed", async () => {
  await using api = await ApiUnderTest.start();
  using client = await api.connect(Buffer.from([0x1e, 0x30, 0x0a, 0x00, 0xff]));
  await vi.waitUntil(() => client.isEnded);
  expect(client.received).toContain('"detail":"this is not HTTP/1.1"');
});

test("10,000 bytes of headers are refused as too long", async () => {
  await using api = await ApiUnderTest.start();
  const { status, json } = await api.curl("/health", "-H", `X-Long: ${"x".repeat(10_000)}`);
  expect({ status, json }).toMatchObject({ status: 431, json: { code: "over-limit" } });
});

const impatient = { headersMs: 150, requestMs: 150, idleConnectionMs: 150, checkIntervalMs: 50 };

test.for([
  ["headers", "GET /health HTTP/1.1\r\nHost: m\r\nX-"],
  ["a body", "POST /v1/fleet HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"],
] as const)("a client that does not finish %s is cut off", async ([, bytes]) => {
  await using api = await ApiUnderTest.start({ limits: impatient });
  using client = await api.connect(bytes);
  await vi.waitUntil(() => client.isEnded, { timeout: 5000 });
  expect(client.received).toContain("408 Request Timeout");
  expect(await api.curl("/health")).toMatchObject({ status: 200 });
});

test("a client that drips headers is cut off all the same", async () => {
  await using api = await ApiUnderTest.start({ limits: impatient });
  using client = await api.connect("GET /health HTTP/1.1\r\n");
  const dripping = setInterval(() => client.socket.write("X-A: b\r\n"), 20);
  await vi.waitUntil(() => client.isEnded, { timeout: 5000 });
  clearInterval(dripping);
  expect(client.received).toContain("408 Request Timeout");
});

test("a connection on which nothing is said is closed", async () => {
  await using api = await ApiUnderTest.start({ limits: impatient });
  using silent = await api.connect("");
  using idle = await api.connect("GET /health HTTP/1.1\r\nHost: m\r\n\r\n");
  await vi.waitUntil(() => silent.isEnded && idle.isEnded, { timeout: 5000 });
  expect(idle.received).toContain("200 OK");
});

test("a long wait outlives the limits on receiving", async () => {
  await using api = await ApiUnderTest.start({ limits: impatient });
  const released = Promise.withResolvers<undefined>();
  api.service.before = () => released.promise;
  const answer = api.curl("/v1/messages/m1?waitFor=delivered&waitMs=60000");
  await vi.waitUntil(() => api.service.asked.length === 1);
  // Two that began later are cut off one after the other: the limits have passed twice.
  for (let round = 0; round < 2; round += 1) {
    using slow = await api.connect("GET");
    await vi.waitUntil(() => slow.isEnded, { timeout: 5000 });
  }
  released.resolve(undefined);
  expect(await answer).toMatchObject({ status: 200 });
});

test("a client that does not read its answer is cut off", async () => {
  await using api = await ApiUnderTest.start({ limits: { requests: 1, stalledReaderMs: 200 } });
  api.service.metricsText = "x".repeat(8 * 1024 * 1024);
  using client = await api.connect("");
  client.socket.pause();
  client.socket.write("GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n");
  await vi.waitUntil(() => api.service.asked.length === 1);
  expect(await api.curl("/health")).toMatchObject({ status: 503 });
  await vi.waitUntil(async () => (await api.curl("/health")).status === 200, { timeout: 5000 });
});

test("a connection over the limit is closed, and the log says so once", async () => {
  await using api = await ApiUnderTest.start({ limits: { connections: 2 } });
  using first = await api.connect("");
  using second = await api.connect("");
  for (let extra = 0; extra < 3; extra += 1) {
    using third = await api.connect("GET /health HTTP/1.1\r\nHost: m\r\n\r\n");
    await vi.waitUntil(() => third.isEnded);
    expect(third.received).toBe("");
  }
  expect([first.isEnded, second.isEnded]).toEqual([false, false]);
  expect(api.log.lines.filter(({ event }) => event === "connections-refused")).toHaveLength(1);
});

test("a request over the limit of those in progress is told to try again, pipelined or not", async () => {
  await using api = await ApiUnderTest.start({ limits: { requests: 3 } });
  const released = Promise.withResolvers<undefined>();
  api.service.before = () => released.promise;
  using client = await api.connect("GET /health HTTP/1.1\r\nHost: m\r\n\r\n".repeat(10));
  await vi.waitUntil(() => api.service.asked.length === 3);
  const refused = await api.curl("/health");
  expect(refused).toMatchObject({ status: 503, json: { code: "unreachable" } });
  released.resolve(undefined);
  await vi.waitUntil(() => client.received.split("HTTP/1.1 ").length === 11);
  expect(api.service.asked).toHaveLength(3);
  expect(await api.curl("/health")).toMatchObject({ status: 200 });
});

const waiting = JSON.stringify({ method: "clear", waitFor: "acknowledged" });
const waitingRequest = `POST /v1/vms/web/messages HTTP/1.1\r\nHost: m\r\nContent-Type: application/json\r\nContent-Length: ${waiting.length}\r\n\r\n${waiting}`;

test.for([
  ["goes away", (client: RawClient) => client.socket.destroy()],
  ["closes its half of the connection", (client: RawClient) => client.socket.end()],
] as const)("a client that %s while it waits ends the wait", async ([, leave]) => {
  await using api = await ApiUnderTest.start();
  using client = await api.connect(waitingRequest);
  await vi.waitUntil(() => api.service.signals.length === 1);
  const [signal] = api.service.signals;
  expect(signal?.aborted).toBe(false);
  leave(client);
  await vi.waitUntil(() => signal?.aborted);
  await vi.waitUntil(() => client.isEnded || client.socket.destroyed);
  expect(api.log.lines.filter(({ level }) => level === "error")).toEqual([]);
});

test("requests that were pipelined end with their connection, whether the service heeds that or not", async () => {
  await using api = await ApiUnderTest.start({ limits: { requests: 5 } });
  const released = Promise.withResolvers<undefined>();
  api.service.before = () => released.promise;
  using client = await api.connect(waitingRequest.repeat(5));
  await vi.waitUntil(() => api.service.signals.length === 5);
  client.socket.destroy();
  await vi.waitUntil(() => api.service.signals.every((signal) => signal.aborted));
  api.service.before = () => undefined;
  expect(await api.curl("/health")).toMatchObject({ status: 200 });
  released.resolve(undefined);
});

test("a socket has its mode and group before it is there, and nothing else is left beside it", async () => {
  await using api = await ApiUnderTest.start();
  const directory = join(api.directory, "run");
  const path = join(directory, "x.sock");
  const gid = process.getuid?.() === 0 ? 12_345 : (process.getgid?.() ?? 0);
  const door = { ...api.unixDoor, path, mode: 0o660, group: gid };
  await using server = await ApiServer.listen({ ...api.parts, doors: [door] });
  expect(server.names).toEqual([`unix:${path}`]);
  const { mode, gid: actualGid } = await stat(path);
  expect({ mode: mode & 0o7777, gid: actualGid }).toEqual({ mode: 0o660, gid });
  expect(await readdir(directory)).toEqual(["x.sock"]);
});

test("a group is known by name, and one that is not there is named", async () => {
  await using api = await ApiUnderTest.start();
  const path = join(api.directory, "x.sock");
  const unknown = { ...api.unixDoor, path, group: "no-such-group" };
  await expect(ApiServer.listen({ ...api.parts, doors: [unknown] })).rejects.toEqual(
    failure(/there is no group 'no-such-group'/),
  );
  const groups = (await readFile("/etc/group", "utf8")).split("\n").map((line) => line.split(":"));
  const [name = ""] = groups.find(([, , id]) => Number(id) === process.getgid?.()) ?? [];
  await using server = await ApiServer.listen({ ...api.parts, doors: [{ ...api.unixDoor, path, group: name }] });
  expect((await stat(path)).gid).toBe(process.getgid?.());
  expect(server.names).toHaveLength(1);
});

test("a socket that nobody listens on any more is replaced", async () => {
  await using api = await ApiUnderTest.start();
  const path = join(api.directory, "stale.sock");
  await makeStaleSocket(api.directory, path);
  await using server = await ApiServer.listen({ ...api.parts, doors: [{ ...api.unixDoor, path }] });
  expect((await run("curl", ["-s", "--unix-socket", path, "http://m/health"])).stdout).toContain('"ok"');
  expect(server.names).toHaveLength(1);
});

/** What a manager that was killed leaves: a socket's file without a listener. */
async function makeStaleSocket(directory: string, path: string): Promise<void> {
  const listener = createServer().listen(join(directory, "first"));
  await once(listener, "listening");
  await link(join(directory, "first"), path);
  listener.close();
  await once(listener, "close");
}

test("a socket that is answered is an error, and goes on", async () => {
  await using api = await ApiUnderTest.start();
  const attempt = ApiServer.listen({ ...api.parts, doors: [api.unixDoor] });
  await expect(attempt).rejects.toEqual(failure(/another program listens on .*manager\.sock/));
  expect(await api.curl("/health")).toMatchObject({ status: 200 });
  expect(await readdir(api.directory)).toEqual(["manager.sock"]);
});

test("what is no socket is never removed", async () => {
  await using api = await ApiUnderTest.start();
  const file = join(api.directory, "file");
  const shortcut = join(api.directory, "shortcut");
  const folder = join(api.directory, "folder");
  await writeFile(file, "precious");
  await symlink(api.socketPath, shortcut);
  await mkdir(folder);
  for (const path of [file, shortcut, folder]) {
    const attempt = ApiServer.listen({ ...api.parts, doors: [{ ...api.unixDoor, path }] });
    await expect(attempt).rejects.toEqual(failure(/is not a socket/));
  }
  expect(await readFile(file, "utf8")).toBe("precious");
  expect(await readlink(shortcut)).toBe(api.socketPath);
  expect((await readdir(api.directory)).sort()).toEqual(["file", "folder", "manager.sock", "shortcut"]);
});

test("of two that start at once over a stale socket, one listens and the other is told", async () => {
  await using api = await ApiUnderTest.start();
  const path = join(api.directory, "contested.sock");
  await makeStaleSocket(api.directory, path);
  const attempts = [1, 2, 3].map(() => ApiServer.listen({ ...api.parts, doors: [{ ...api.unixDoor, path }] }));
  const results = await Promise.allSettled(attempts);
  const servers = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  expect(servers).toHaveLength(1);
  expect((await run("curl", ["-s", "--unix-socket", path, "http://m/health"])).stdout).toContain('"ok"');
  for (const server of servers) await server.close();
  expect(await readdir(api.directory)).toEqual(["manager.sock"]);
});

test("a path that is too long for a socket is an error that says so", async () => {
  await using api = await ApiUnderTest.start();
  const path = join(api.directory, "d".repeat(100), "x.sock");
  const attempt = ApiServer.listen({ ...api.parts, doors: [{ ...api.unixDoor, path }] });
  await expect(attempt).rejects.toEqual(failure(/too long/));
});

test("a closed door removes its own socket, and not the one that another put in its place", async () => {
  await using api = await ApiUnderTest.start();
  const path = join(api.directory, "x.sock");
  const first = await ApiServer.listen({ ...api.parts, doors: [{ ...api.unixDoor, path }] });
  const moved = join(api.directory, "moved.sock");
  await rename(path, moved);
  await using second = await ApiServer.listen({ ...api.parts, doors: [{ ...api.unixDoor, path }] });
  await first.close();
  expect((await run("curl", ["-s", "--unix-socket", path, "http://m/health"])).stdout).toContain('"ok"');
  await second.close();
  expect((await readdir(api.directory)).sort()).toEqual(["manager.sock", "moved.sock"]);
});

test("when one door cannot be opened, none is", async () => {
  await using api = await ApiUnderTest.start();
  const path = join(api.directory, "x.sock");
  const doors = [{ ...api.unixDoor, path }, api.tlsDoor];
  await expect(ApiServer.listen({ ...api.parts, doors })).rejects.toEqual(failure(/cannot read .*certificate\.pem/));
  expect(await readdir(api.directory)).toEqual(["manager.sock"]);
});

test("a port that is taken is an error that names it", async () => {
  await using api = await ApiUnderTest.start({ tls: true });
  const attempt = ApiServer.listen({ ...api.parts, doors: [{ ...api.tlsDoor, port: api.tlsPort }] });
  await expect(attempt).rejects.toEqual(failure(/cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/));
});

async function presentedName(port: number): Promise<string> {
  const socket: TLSSocket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return String(CN);
}

test("a certificate is replaced while it is served; one that does not fit is refused and changes nothing", async () => {
  await using api = await ApiUnderTest.start({ tls: true });
  expect(await presentedName(api.tlsPort)).toBe("localhost");
  await makeCertificate(api.directory, "renewed");
  await api.server.reloadCertificates();
  expect(await presentedName(api.tlsPort)).toBe("renewed");
  await writeFile(join(api.directory, "certificate.pem"), "not one");
  await expect(api.server.reloadCertificates()).rejects.toEqual(failure(/not a PEM certificate and its key/));
  expect(await presentedName(api.tlsPort)).toBe("renewed");
});

test("a key of another certificate is refused", async () => {
  await using api = await ApiUnderTest.start({ tls: true });
  const certificate = await readFile(join(api.directory, "certificate.pem"));
  await makeCertificate(api.directory, "other");
  await writeFile(join(api.directory, "certificate.pem"), certificate);
  await expect(api.server.reloadCertificates()).rejects.toEqual(failure(/key values mismatch/));
});

test("a request that runs when the manager closes gets its answer; nothing new is taken; closing twice is fine", async () => {
  await using api = await ApiUnderTest.start();
  const released = Promise.withResolvers<undefined>();
  api.service.before = () => released.promise;
  const answer = api.curl("/v1/vms/web/keys");
  await vi.waitUntil(() => api.service.asked.length === 1);
  const closing = Promise.all([api.server.close(), api.server.close()]);
  await vi.waitUntil(async () => (await readdir(api.directory)).length === 0);
  expect(await api.curl("/health")).toMatchObject({ status: 0 });
  released.resolve(undefined);
  expect(await answer).toMatchObject({ status: 200, json: { epoch: EPOCH } });
  await closing;
});

test("a connection that is idle does not keep the manager from closing", async () => {
  await using api = await ApiUnderTest.start({ limits: { closeGraceMs: 60_000, idleConnectionMs: 60_000 } });
  using client = await api.connect("GET /health HTTP/1.1\r\nHost: m\r\n\r\n");
  await vi.waitUntil(() => client.received.includes("200 OK"));
  await api.server.close();
  await vi.waitUntil(() => client.isEnded);
});

test("a wait that does not end by itself is stopped when the grace is over, and told to try again", async () => {
  await using api = await ApiUnderTest.start({ limits: { closeGraceMs: 100 } });
  const answer = api.post("/v1/vms/web/messages", { method: "clear", waitFor: "acknowledged" });
  await vi.waitUntil(() => api.service.signals.length === 1);
  await api.server.close();
  expect(await answer).toMatchObject({
    status: 503,
    json: { code: "unreachable", detail: "the manager stops; try again" },
  });
});

test("work that does not heed its signal does not keep the manager from closing", async () => {
  await using api = await ApiUnderTest.start({ limits: { closeGraceMs: 50 } });
  const never = new AbortController();
  api.service.before = () => aborted(never.signal);
  const answer = api.curl("/health");
  await vi.waitUntil(() => api.service.asked.length === 1);
  await api.server.close();
  expect(await answer).toMatchObject({ status: 0 });
});
