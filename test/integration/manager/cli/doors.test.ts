/** Which way a command goes, and with whose name. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { listenForOne, RealAgent, temporaryDirectory, vmmessage } from "../../host-cli/programs.ts";
import { type Certificate, selfSigned } from "./certificates.ts";
import { keyAnswer, receiptOf, refused, type Script, ScriptedManager, vmSummary } from "./scripted-manager.ts";

let directory: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
});

const script: Script = { showVm: () => vmSummary(), getKey: () => keyAnswer(), sendMessage: receiptOf };
const QUERY = ["-v", "web1", "-q", "foo", "--quiet"];

/** The value of the header by which a user says who they are (RFC 7617). */
const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

describe("on this host", () => {
  let socket: string;
  let channels: string;

  beforeEach(async () => {
    socket = join(directory, "manager.sock");
    channels = join(directory, "channels");
    await mkdir(channels);
  });

  /** A VM whose own channel answers with another value than the manager. */
  async function agentWith(value: string): Promise<void> {
    const agent = new RealAgent(directory, join(channels, "web1.sock"));
    await agent.start();
    expect(await agent.run("-p", `foo=${value}`)).toMatchObject({ code: 0 });
  }

  it("the manager is asked when it listens, whatever VMMESSAGE_SOCKET_DIR says", async () => {
    await ScriptedManager.atSocket(socket, script);
    const env = { VMMESSAGE_MANAGER: socket, VMMESSAGE_SOCKET_DIR: channels };
    for (const host of [[], ["-h", "localhost"]]) {
      expect(await vmmessage([...QUERY, ...host], { env })).toMatchObject({ code: 0, stdout: "bar\n" });
    }
    expect(await vmmessage([...QUERY, "--manager", socket])).toMatchObject({ code: 0, stdout: "bar\n" });
  });

  it("the user's own manager is found by XDG_RUNTIME_DIR", async () => {
    await mkdir(join(directory, "vmmessage"));
    await ScriptedManager.atSocket(join(directory, "vmmessage", "manager.sock"), script);
    expect(await vmmessage(QUERY, { env: { XDG_RUNTIME_DIR: directory } })).toMatchObject({ code: 0, stdout: "bar\n" });
  });

  it.each([
    ["--socket", () => ["--socket", join(channels, "web1.sock")]],
    ["--socket-dir", () => ["--socket-dir", channels]],
    ["--direct", () => ["--direct"]],
  ])("%s goes straight to the channel, and says that nobody checked the password", async (_, option) => {
    await agentWith("direct");
    const manager = await ScriptedManager.atSocket(socket, script);
    const env = { VMMESSAGE_MANAGER: socket, VMMESSAGE_SOCKET_DIR: channels };
    expect(await vmmessage([...QUERY, ...option(), "-u", "admin", "-p", "x"], { env })).toMatchObject({
      code: 0,
      stdout: "direct\n",
      stderr: "vmmessage: no manager is asked; -u and -p were not used\n",
    });
    expect(manager.seen).toEqual([]);
  });

  it("a socket that nobody listens on leads to the channel, with a note", async () => {
    await agentWith("direct");
    const listener = await listenForOne(socket);
    listener.kill("SIGKILL");
    await once(listener, "exit");
    const env = { VMMESSAGE_MANAGER: socket, VMMESSAGE_SOCKET_DIR: channels };
    expect(await vmmessage(QUERY, { env })).toMatchObject({
      code: 0,
      stdout: "direct\n",
      stderr: `vmmessage: nobody listens on ${socket}: the manager is not running; going straight to the VM's channel\n`,
    });
    const refusedCommand = await vmmessage(["vms"], { env });
    expect(refusedCommand).toMatchObject({ code: 10 });
    expect(refusedCommand.stderr).toContain("the manager is not running; this needs a manager");
  });

  it("a named socket that is not there leads to the channel, with a note", async () => {
    await agentWith("direct");
    const outcome = await vmmessage([...QUERY, "--manager", socket], { env: { VMMESSAGE_SOCKET_DIR: channels } });
    expect(outcome).toMatchObject({ code: 0, stdout: "direct\n" });
    expect(outcome.stderr).toContain(`there is no socket ${socket}`);
  });

  it("a socket that we may not open is never passed by in silence", async () => {
    await ScriptedManager.atSocket(socket, script);
    await chmod(socket, 0);
    // Root may open everything until it gives that right away (capabilities(7), CAP_DAC_OVERRIDE).
    const under = process.getuid?.() === 0 ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] : [];
    const env = { VMMESSAGE_MANAGER: socket, VMMESSAGE_SOCKET_DIR: channels };
    const outcome = await vmmessage(QUERY, { under, env });
    expect(outcome).toMatchObject({ code: 6, stdout: "" });
    expect(outcome.stderr).toContain("run vmmessage as root or as the socket's group, or pass it by with --direct");
  });

  it.each([[["vms"]], [["-v", "web*", "-q", "a"]], [["--all", "-q", "a"]]])(
    "%j needs a manager, and says so where there is none",
    async (args) => {
      const outcome = await vmmessage(args, { env: { VMMESSAGE_MANAGER: socket } });
      expect(outcome).toMatchObject({ code: 3, stdout: "" });
      expect(outcome.stderr).toContain("this needs a manager (vmmessaged)");
    },
  );

  it.each(["--expires=1h", "--log"])("%s needs a manager", async (option) => {
    const env = { VMMESSAGE_SOCKET_DIR: channels, XDG_RUNTIME_DIR: directory };
    const outcome = await vmmessage(["-v", "web1", "-k", "a", "-V", "1", option], { env });
    expect(outcome).toMatchObject({ code: 3 });
    expect(outcome.stderr).toContain("needs a manager");
  });
});

describe("who asks", () => {
  let socket: string;
  let manager: ScriptedManager;
  let env: Record<string, string>;

  beforeEach(async () => {
    socket = join(directory, "manager.sock");
    manager = await ScriptedManager.atSocket(socket, script);
    env = { VMMESSAGE_MANAGER: socket, XDG_CONFIG_HOME: directory };
  });

  async function authorization(args: string[], more: { env?: Record<string, string>; stdin?: string } = {}) {
    const outcome = await vmmessage([...QUERY, ...args], { ...more, env: { ...env, ...more.env } });
    return { ...outcome, authorization: manager.seen.at(-1)?.authorization };
  }

  async function credentials(entries: unknown, mode = 0o600): Promise<string> {
    await mkdir(join(directory, "vmmessage"), { recursive: true });
    const path = join(directory, "vmmessage", "credentials");
    await writeFile(path, typeof entries === "string" ? entries : JSON.stringify(entries), { mode });
    await chmod(path, mode);
    return path;
  }

  it("is nobody unless somebody is named: the socket stands for one", async () => {
    expect(await authorization([])).toMatchObject({ code: 0, stderr: "", authorization: undefined });
  });

  it("-u and -p, with a warning that others can see the password", async () => {
    const asked = await authorization(["-u", "admin", "-p", "secret1", "-h", "localhost"]);
    expect(asked).toMatchObject({ code: 0, authorization: basic("admin", "secret1") });
    expect(asked.stderr).toMatch(
      /^vmmessage: others on this machine can see a password on a command line; better are /,
    );
    expect(asked.stderr).not.toContain("secret1");
  });

  it("-p - reads a line of the standard input", async () => {
    const asked = await authorization(["-u", "admin", "-p", "-"], { stdin: "grün weiß\nmore\n" });
    expect(asked).toMatchObject({ code: 0, stderr: "", authorization: basic("admin", "grün weiß") });
  });

  it.each<[string, Record<string, string>, string]>([
    ["user and password", { VMMESSAGE_USER: "alice", VMMESSAGE_PASSWORD: "p" }, basic("alice", "p")],
    ["a token", { VMMESSAGE_TOKEN: "vmm_1" }, "Bearer vmm_1"],
  ])("the environment: %s", async (_, environment, expected) => {
    await credentials({ local: { token: "stored" } });
    expect(await authorization([], { env: environment })).toMatchObject({ code: 0, authorization: expected });
  });

  it("--token-file, which nobody else may read", async () => {
    const path = join(directory, "token");
    await writeFile(path, "vmm_2\n", { mode: 0o600 });
    expect(await authorization(["--token-file", path])).toMatchObject({ code: 0, authorization: "Bearer vmm_2" });
    await chmod(path, 0o644);
    expect(await authorization(["--token-file", path])).toMatchObject({ code: 6 });
  });

  it("the credentials file, by 'local'", async () => {
    await credentials({ local: { user: "bob", password: "p" }, "other.example": { token: "t" } });
    expect(await authorization([])).toMatchObject({ code: 0, stderr: "", authorization: basic("bob", "p") });
    expect(await authorization(["-u", "bob"])).toMatchObject({ code: 0, authorization: basic("bob", "p") });
  });

  it("the credentials file is not used when others have rights to it", async () => {
    const path = await credentials({ local: { token: "t" } }, 0o640);
    const asked = await authorization([]);
    expect(asked).toMatchObject({ code: 6, authorization: undefined });
    expect(asked.stderr).toBe(`vmmessage: ${path} is not used: others have rights to it; do 'chmod 600 ${path}'\n`);
  });

  it("the credentials file has to be a regular file", async () => {
    await mkdir(join(directory, "vmmessage", "credentials"), { recursive: true });
    expect((await authorization([])).stderr).toContain("it is not a regular file");
  });

  it.each([
    ["no JSON", "secret1", "is not JSON; it has to be"],
    ["an unknown name", { local: { tokn: "secret1" } }, "local: "],
    ["half a login", { local: { user: "secret1" } }, "either user and password, or token"],
  ])("a credentials file with %s is refused without showing it", async (_, entries, sentence) => {
    await credentials(entries);
    const asked = await authorization([]);
    expect(asked).toMatchObject({ code: 3 });
    expect(asked.stderr).toContain(sentence);
    expect(asked.stderr).not.toContain("secret1");
  });

  it.each([
    [["-u", "admin"], "the user 'admin' needs a password"],
    [["-p", "x"], "whose password is it?"],
    [["-u", "a:b", "-p", "-"], "it has a colon"],
    [["-u", "admin", "-p", "-"], "no password of admin was given"],
  ])("%j is not enough", async (args, sentence) => {
    const asked = await authorization(args, { stdin: args.includes("a:b") ? "x" : "" });
    expect(asked).toMatchObject({ code: 3, authorization: undefined });
    expect(asked.stderr).toContain(sentence);
  });

  it("a refused login is not permitted; where nobody was named, the ways are", async () => {
    manager.script = { showVm: () => refused("not-permitted", "wrong user name, password or token", 401) };
    const named = await authorization(["-u", "admin", "-p", "-"], { stdin: "wrong" });
    expect(named).toMatchObject({ code: 6, stderr: "vmmessage: wrong user name, password or token\n" });
    expect((await authorization([])).stderr).toContain("say who asks: -u USER and -p -, --token-file");
  });

  it("a password that is typed on a terminal is not shown", async () => {
    const words = [process.execPath, "dist/vmmessage.js", ...QUERY, "-u", "admin", "-p", "-"];
    // script(1) gives the program a terminal.
    const terminal = spawn("script", ["-qec", words.join(" "), "/dev/null"], { env: { ...process.env, ...env } });
    onTestFinished(() => void terminal.kill("SIGKILL"));
    let shown = "";
    terminal.stdout.on("data", (piece: Buffer) => {
      shown += piece.toString();
      if (shown.endsWith("password of admin: ")) terminal.stdin.write("secret1\r");
    });
    await once(terminal, "close");
    expect(shown.replaceAll("\r", "")).toBe("password of admin: \nbar\n");
    expect(manager.seen.at(-1)?.authorization).toBe(basic("admin", "secret1"));
  });
});

describe("another host", () => {
  let certificate: Certificate;
  let manager: ScriptedManager;
  let env: Record<string, string>;

  beforeEach(async () => {
    certificate = await selfSigned(directory, "manager", "DNS:localhost,IP:127.0.0.1");
    manager = await ScriptedManager.atPort(certificate, script);
    env = { XDG_CONFIG_HOME: directory, VMMESSAGE_TOKEN: "vmm_1" };
  });

  const ask = (...args: string[]) => vmmessage([...QUERY, ...args], { env });

  it.each([
    ["--ca FILE", () => ["--ca", certificate.certPath]],
    ["--fingerprint SHA256", () => ["--fingerprint", certificate.fingerprint]],
    [
      "--fingerprint as openssl prints it",
      () => ["--fingerprint", certificate.fingerprint.toUpperCase().replace(/..(?=.)/g, "$&:")],
    ],
  ])("is asked over TLS, trusted by %s", async (_, trust) => {
    const outcome = await ask("-h", `localhost:${manager.port}`, ...trust());
    expect(outcome).toMatchObject({ code: 0, stdout: "bar\n", stderr: "" });
    expect(manager.seen.at(-1)?.authorization).toBe("Bearer vmm_1");
  });

  it("is named by VMMESSAGE_HOST, and its certificate by the credentials file", async () => {
    const host = `127.0.0.1:${manager.port}`;
    await mkdir(join(directory, "vmmessage"));
    const entries = { [host]: { user: "bob", password: "p", fingerprint: certificate.fingerprint } };
    await writeFile(join(directory, "vmmessage", "credentials"), JSON.stringify(entries), { mode: 0o600 });
    env = { XDG_CONFIG_HOME: directory, VMMESSAGE_HOST: host };
    expect(await ask()).toMatchObject({ code: 0, stdout: "bar\n" });
    expect(manager.seen.at(-1)?.authorization).toBe(basic("bob", "p"));
  });

  it("with a certificate that nobody vouches for is sent nothing, and the fingerprint is shown", async () => {
    const outcome = await ask("-h", `localhost:${manager.port}`);
    expect(outcome).toMatchObject({ code: 6, stdout: "" });
    expect(outcome.stderr).toContain("is not trusted (it is self-signed)");
    expect(outcome.stderr).toContain(`--fingerprint ${certificate.fingerprint}, or its authority with --ca FILE`);
    expect(manager.seen).toEqual([]);
  });

  it("with another certificate than the pinned one is sent nothing, and both are shown", async () => {
    const wrong = "ab".repeat(32);
    const outcome = await ask("-h", `localhost:${manager.port}`, "--fingerprint", wrong);
    expect(outcome).toMatchObject({ code: 6 });
    expect(outcome.stderr).toContain(`expected ${wrong}, got ${certificate.fingerprint}; nothing was sent`);
    expect(manager.seen).toEqual([]);
  });

  it("with a certificate for another name is sent nothing", async () => {
    const other = await selfSigned(directory, "other", "DNS:other.example");
    const impostor = await ScriptedManager.atPort(other, script);
    const outcome = await ask("-h", `localhost:${impostor.port}`, "--ca", other.certPath);
    expect(outcome).toMatchObject({ code: 6 });
    expect(outcome.stderr).toContain("it is for another host's name");
    expect(impostor.seen).toEqual([]);
  });

  it("where nobody listens is unreachable", async () => {
    const { port } = manager;
    await manager.close();
    const outcome = await ask("-h", `localhost:${port}`);
    expect(outcome).toMatchObject({ code: 10 });
    expect(outcome.stderr).toContain(`nobody listens on localhost:${port}; does vmmessaged run there`);
  });

  it("that does not speak TLS, or no HTTP, is no manager", async () => {
    const plain = createServer((connection) => void connection.on("error", () => undefined).end("220 mail ESMTP\r\n"));
    plain.listen(0, "127.0.0.1");
    await once(plain, "listening");
    onTestFinished(() => void plain.close());
    const { port } = plain.address() as { port: number };
    const outcome = await ask("-h", `localhost:${port}`);
    expect(outcome).toMatchObject({ code: 2 });
    expect(outcome.stderr).toContain("does not speak TLS as a vmmessage manager does");
  });

  it("that answers HTTP in another way is no manager", async () => {
    manager.script = { showVm: () => (response) => void response.writeHead(404).end("not found") };
    const outcome = await ask("-h", `localhost:${manager.port}`, "--ca", certificate.certPath);
    expect(outcome).toMatchObject({ code: 2 });
    expect(outcome.stderr).toContain("does not answer as a vmmessage manager of this version does (HTTP status 404)");
  });

  it.each([
    ["that is not there", "/nonexistent", "cannot read /nonexistent (ENOENT)"],
    ["that is none", "package.json", "has no certificate"],
  ])("an authority's file %s is told", async (_, path, sentence) => {
    const outcome = await ask("-h", `localhost:${manager.port}`, "--ca", path);
    expect(outcome).toMatchObject({ code: 3 });
    expect(outcome.stderr).toContain(sentence);
  });
});
