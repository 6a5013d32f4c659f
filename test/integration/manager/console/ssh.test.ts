import { statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { exitCodes } from "../../../../shared/protocol/errors.ts";
import { ol6, scriptedService } from "../../../unit/manager/console/scripted-service.ts";
import { PASSWORD, ScriptedConsole } from "./scripted-console.ts";
import { finish, type Running, startProgram } from "./ssh.ts";

const SEND = "sendVmMessage Vm name=ol6u3apitest key=foo message=bar log=no";
const TIME = String.raw`Time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \S+`;
const SEND_ANSWER = new RegExp(`^Command: ${SEND}\nStatus: Success\n${TIME}\n$`);

let manager: ScriptedConsole;
let key: string;

beforeAll(async () => {
  manager = await new ScriptedConsole().start();
  key = manager.client.makeKey("admin_key");
  manager.users.allow("admin", key);
});

afterAll(() => manager[Symbol.asyncDispose]());

async function printed(running: Running, text: string | RegExp): Promise<void> {
  await vi
    .waitUntil(() => running.printed.search(text) !== -1, { timeout: 10_000 })
    .catch(() => {
      throw new Error(`there is no ${String(text)} in ${JSON.stringify(running.printed)}`);
    });
}

describe("the seed's transcript", () => {
  it("is played by ssh on a terminal, password prompt and all", async () => {
    const options = manager.client.options().map((word) => `'${word}'`);
    const command = `ssh admin@localhost -p ${manager.server.port} ${options.join(" ")} -o PreferredAuthentications=password`;
    const environment = { ...process.env, SSH_ASKPASS_REQUIRE: "never" };
    const terminal = startProgram("script", ["-qefc", command, "/dev/null"], environment);
    await printed(terminal, "admin@localhost's password: ");
    terminal.write(`${PASSWORD}\r`);
    await printed(terminal, "OVM> ");
    terminal.write(`${SEND}\r`);
    await printed(terminal, /Time: .*\r\n/);
    terminal.write("exit\r");
    const { stdout, code } = await terminal.finished;
    expect(code).toBe(0);
    // readline moves to the column after the prompt
    const shown = stdout.replaceAll(/\u001b\[[0-9]*[A-Z]/g, "").replace(/^[^]*password: \r\n/, "");
    expect(shown).toMatch(
      new RegExp(`^OVM> ${SEND}\r\nCommand: ${SEND}\r\nStatus: Success\r\n${TIME}\r\nOVM> exit\r\n`),
    );
    expect(manager.sent.at(-1)).toMatchObject({
      who: "admin",
      message: { method: "set", params: { entries: [{ key: "foo", value: "bar" }] }, log: false },
    });
  });
});

describe("a command given to ssh", () => {
  it("is answered byte for byte as in the seed, without a terminal", async () => {
    const { code, stdout, stderr } = await finish(manager.client.withKey(key, "admin@127.0.0.1", SEND));
    expect(stdout).toMatch(SEND_ANSWER);
    expect(stderr).toBe("");
    expect(code).toBe(0);
  });

  it.each([
    ["show", exitCodes.usage],
    ["sendVmMessage Vm name=gone key=k message=m", exitCodes.failed],
    ["exit", 0],
  ])("ends ssh with its exit code: %s", async (line, status) => {
    const { code } = await finish(manager.client.withKey(key, "admin@127.0.0.1", line));
    expect(code).toBe(status);
  });

  it("may hold quotes and lines", async () => {
    const line = `sendVmMessage Vm name=ol6u3apitest key=motd message="line 1\nit's line 2"`;
    const { code } = await finish(manager.client.withKey(key, "admin@127.0.0.1", line));
    expect(code).toBe(0);
    expect(manager.sent.at(-1)?.message.params).toEqual({ entries: [{ key: "motd", value: "line 1\nit's line 2" }] });
  });
});

describe("commands from a pipe", () => {
  it("are answered one after the other, without prompt and echo", async () => {
    const { code, stdout } = await finish(manager.client.withKey(key, "-T", "admin@127.0.0.1"), `${SEND}\n\nlist Vm\n`);
    expect(stdout).toMatch(
      new RegExp(
        `^Command: ${SEND}\nStatus: Success\n${TIME}\n` +
          `Command: list Vm\nStatus: Success\n${TIME}\nData:\n  id:${ol6.id}  name:ol6u3apitest\n$`,
      ),
    );
    expect(code).toBe(0);
  });

  it("end with the last one's exit code, whether or not it ends in a newline", async () => {
    const { code } = await finish(manager.client.withKey(key, "-T", "admin@127.0.0.1"), `${SEND}\nshow`);
    expect(code).toBe(exitCodes.usage);
  });

  it("after exit are not run", async () => {
    const { stdout, code } = await finish(manager.client.withKey(key, "-T", "admin@127.0.0.1"), "exit\nlist Vm\n");
    expect(stdout).toBe("");
    expect(code).toBe(0);
  });

  it("that are too long are refused, and the next one is run", async () => {
    const input = `list Vm ${"x".repeat(1024 * 1024)}\nlist Vm\n`;
    const { stdout, code } = await finish(manager.client.withKey(key, "-T", "admin@127.0.0.1"), input);
    expect(stdout).toMatch(
      /^Command: \nStatus: Failure\nTime: .*\nError Msg: the line is over 65536 bytes\nCommand: list/,
    );
    expect(code).toBe(0);
  });

  it("are all answered, also while keys are exchanged anew", async () => {
    const rekeying = manager.client.withKey(key, "-T", "-o", "RekeyLimit=16K", "admin@127.0.0.1");
    const { stdout, code } = await finish(rekeying, "help\n".repeat(500));
    expect(stdout.match(/^Command: help$/gm)).toHaveLength(500);
    expect(code).toBe(0);
  });
});

describe("a terminal", () => {
  async function openTerminal(): Promise<Running> {
    const terminal = manager.client.withKey(key, "-tt", "admin@127.0.0.1");
    await printed(terminal, "OVM> ");
    return terminal;
  }

  it("edits lines and has a history", async () => {
    const terminal = await openTerminal();
    terminal.write("list Vx\u007fm\r");
    await printed(terminal, "Command: list Vm\r\nStatus: Success");
    terminal.write("\u001b[A\r");
    await printed(terminal, /Command: list Vm[^]*Command: list Vm/);
    terminal.write("exit\r");
    expect((await terminal.finished).code).toBe(0);
  });

  it("ends with ctrl-D, and with the last command's exit code", async () => {
    const terminal = await openTerminal();
    terminal.write("show\r");
    await printed(terminal, "Error Msg: the type is missing");
    terminal.write("\u0004");
    expect((await terminal.finished).code).toBe(exitCodes.usage);
  });

  it("clears the line with ctrl-C, and ctrl-Z stops nobody", async () => {
    const terminal = await openTerminal();
    terminal.write("frobnicate\u0003");
    await printed(terminal, /\^C\r\n.*OVM> /);
    terminal.write("\u001alist Vm\r");
    await printed(terminal, "Command: list Vm\r\n");
    expect(terminal.printed).not.toContain("Command: frobnicate");
    terminal.write("exit\r");
    await terminal.finished;
  });

  it("runs lines that are pasted one after the other", async () => {
    const terminal = await openTerminal();
    terminal.write("list Vm\rshow Vm name=ol6u3apitest\r\rexit\r");
    const { stdout, code } = await terminal.finished;
    expect(stdout).toMatch(/Command: list Vm\r\n[^]*Command: show Vm name=ol6u3apitest\r\n/);
    expect(code).toBe(0);
  });

  it("refuses a line that is too long and goes on", async () => {
    const terminal = await openTerminal();
    terminal.write(`${"x".repeat(100_000)}\rlist Vm\r`);
    await printed(terminal, "Error Msg: the line is over 16384 characters");
    await printed(terminal, "Command: list Vm\r\n");
    terminal.write("exit\r");
    await terminal.finished;
  });
});

describe("logging in", () => {
  it("works with a password, and the attempt says from where", async () => {
    const { code, stdout } = await finish(manager.client.withPassword(PASSWORD, "admin@127.0.0.1", SEND));
    expect(code).toBe(0);
    expect(stdout).toMatch(SEND_ANSWER);
    expect(manager.users.attempts.at(-1)).toBe("password admin ssh:127.0.0.1");
  });

  it.each(["ed25519", "rsa", "ecdsa"])("works with a key of the kind %s", async (type) => {
    const made = manager.client.makeKey(`${type}_key`, type);
    manager.users.allow("admin", made);
    expect((await finish(manager.client.withKey(made, "admin@127.0.0.1", "help"))).code).toBe(0);
  });

  it("is noted once, and only when the signature is right", async () => {
    const before = manager.users.attempts.length;
    await finish(manager.client.withKey(key, "admin@127.0.0.1", "help"));
    expect(manager.users.attempts.slice(before)).toEqual(["key admin ssh-ed25519 ssh:127.0.0.1"]);
  });

  it("fails with a wrong password", async () => {
    const { code, stderr } = await finish(manager.client.withPassword("wrong", "admin@127.0.0.1", SEND));
    expect(code).toBe(255);
    expect(stderr).toContain("Permission denied");
  });

  it("fails with a key that nobody has", async () => {
    const stranger = manager.client.makeKey("stranger_key");
    const { code, stderr } = await finish(manager.client.withKey(stranger, "admin@127.0.0.1", SEND));
    expect(code).toBe(255);
    expect(stderr).toContain("Permission denied");
  });

  it("fails with another user's key", async () => {
    const other = manager.client.makeKey("operator_key");
    manager.users.allow("operator", other);
    expect((await finish(manager.client.withKey(other, "operator@127.0.0.1", "help"))).code).toBe(0);
    expect((await finish(manager.client.withKey(other, "admin@127.0.0.1", "help"))).code).toBe(255);
  });

  it("ends after three wrong passwords", async () => {
    const before = manager.users.attempts.length;
    const words = ["-o", "NumberOfPasswordPrompts=10", "admin@127.0.0.1", "help"];
    // the first value of an option counts
    const running = startProgram(
      "ssh",
      ["-o", "NumberOfPasswordPrompts=10", ...manager.client.options(), "-p", String(manager.server.port), ...words],
      manager.client.environment("wrong"),
    );
    expect((await finish(running)).code).toBe(255);
    expect(manager.users.attempts.slice(before)).toHaveLength(3);
  });

  it("is over at once when there were too many attempts", async () => {
    manager.users.isThrottled = true;
    const { code } = await finish(manager.client.withPassword(PASSWORD, "admin@127.0.0.1", "help"));
    manager.users.isThrottled = false;
    expect(code).toBe(255);
  });
});

describe("what a console is not for", () => {
  it("sftp is refused", async () => {
    const words = [...manager.client.options(), "-i", key, "-P", String(manager.server.port), "admin@127.0.0.1"];
    const { code, stderr } = await finish(startProgram("sftp", words, process.env), "ls\n");
    expect(code).toBe(255);
    expect(stderr).toContain("subsystem request failed");
  });

  it("connections are not forwarded, in neither direction", async () => {
    const ssh = manager.client;
    const port = String(manager.server.port);
    const out = await finish(ssh.withKey(key, "-W", `127.0.0.1:${port}`, "admin@127.0.0.1"));
    expect(out).toMatchObject({ code: 255, stdout: "" });
    expect(out.stderr).toContain("stdio forwarding failed");
    const words = ["-o", "ExitOnForwardFailure=yes", "-R", `0:127.0.0.1:${port}`, "admin@127.0.0.1", "help"];
    const back = await finish(ssh.withKey(key, ...words));
    expect(back).toMatchObject({ code: 255, stdout: "" });
    expect(back.stderr).toContain("remote port forwarding failed");
  });

  it("an environment, an agent and X11 are not taken, and the command runs without", async () => {
    const words = ["-o", "SetEnv=LANG=C", "-A", "-X", "admin@127.0.0.1", SEND];
    const { stdout, code } = await finish(manager.client.withKey(key, ...words));
    expect(stdout).toMatch(SEND_ANSWER);
    expect(code).toBe(0);
  });
});

describe("the host key", () => {
  it("is made once, for its owner only, and is the same after a restart", async () => {
    await using restarted = new ScriptedConsole();
    await restarted.start();
    const { mode } = statSync(join(restarted.directory, "console_host_ed25519_key"));
    expect(mode & 0o777).toBe(0o600);
    const own = restarted.client.makeKey("own_key");
    restarted.users.allow("admin", own);
    expect((await finish(restarted.client.withKey(own, "admin@127.0.0.1", "help"))).code).toBe(0);
    const { port } = restarted.server;
    await restarted.server.close();
    await restarted.start({ port });
    const strict = await finish(
      restarted.client.start(["-i", own, "-o", "StrictHostKeyChecking=yes", "admin@127.0.0.1", "help"]),
    );
    expect(strict.code).toBe(0);
    const [first, second] = restarted.log.fields.map(({ hostKey }) => hostKey);
    expect(first).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/);
    expect(second).toBe(first);
    expect(restarted.log.events).toEqual(["console.listening", "console.listening"]);
  });
});

describe("closing", () => {
  it("tells the sessions, ends them and what they run, and can be done twice", async () => {
    await using closing = new ScriptedConsole();
    let isAborted = false;
    const send = (_who: unknown, _vm: unknown, _message: unknown, signal?: AbortSignal) =>
      new Promise<never>((_, reject) => {
        signal?.addEventListener("abort", () => {
          isAborted = true;
          reject(new Error("aborted"));
        });
      });
    await closing.start({ service: scriptedService({ ...closing.script(), send }) });
    const own = closing.client.makeKey("own_key");
    closing.users.allow("admin", own);
    const idle = closing.client.withKey(own, "-tt", "admin@127.0.0.1");
    await printed(idle, "OVM> ");
    const busy = closing.client.withKey(own, "-tt", "admin@127.0.0.1");
    await printed(busy, "OVM> ");
    busy.write(`${SEND}\r`);
    await printed(busy, /message=bar log=no\r\n/);
    await Promise.all([closing.server.close(), closing.server.close()]);
    for (const session of [idle, busy]) {
      const { code, stderr } = await session.finished;
      expect(stderr).toContain("the manager is shutting down");
      expect(code).toBe(exitCodes.unreachable);
    }
    expect(isAborted).toBe(true);
    await closing.server.close();
  });
});
