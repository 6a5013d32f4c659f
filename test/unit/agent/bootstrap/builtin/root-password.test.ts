import { describe, expect, test } from "vitest";
import { passwordProblem, rootPasswordModule } from "../../../../../agent/bootstrap/builtin/root-password.ts";
import { ModuleError } from "../../../../../agent/bootstrap/module.ts";
import type { Program } from "../../../../../agent/bootstrap/run-program.ts";
import { runWith } from "./module-runs.ts";

const YESCRYPT = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
const SHA512 = `$6$rounds=5000$salt$${"A".repeat(86)}`;

function recorded(code = 0, lines: string[] = []) {
  const programs: Program[] = [];
  const module = rootPasswordModule({
    root: "/nowhere",
    run: (program) => {
      programs.push(program);
      return Promise.resolve({ exit: { type: "code", code }, stdout: Buffer.alloc(0), lines });
    },
  });
  return { module, programs };
}

describe("root's password", () => {
  test.each([
    ["as it is", "secret: with colons", []],
    ["that begins with a colon", ":secret", []],
    ["with a dollar that begins no hash", "$ecret$word", []],
    ["as a hash of yescrypt", YESCRYPT, ["-e"]],
    ["as a hash of SHA-512", SHA512, ["-e"]],
    ["as a hash of bcrypt", `$2b$05$${"A".repeat(53)}`, ["-e"]],
  ])("%s goes to chpasswd's standard input, and to no argument", async (_, password, args) => {
    const { module, programs } = recorded();
    expect(await module.run(runWith({ "org.vmmessage.root-password": password }))).toEqual({ results: {} });
    expect(programs).toMatchObject([{ file: "chpasswd", args, input: Buffer.from(`root:${password}\n`) }]);
    expect(programs[0]?.environment).toBeUndefined();
  });

  test.each([
    ["", "empty"],
    ["one\nroot2:two", "control character"],
    ["one\rtwo", "control character"],
    ["one\0two", "control character"],
    ["é".repeat(256), "over 511 bytes"],
    ["$6$tooshort", "begins like a hash of crypt(5) and is none"],
    [`${YESCRYPT}:1:2`, "begins like a hash of crypt(5) and is none"],
    [`$1$salt$${"A".repeat(22)} `, "begins like a hash of crypt(5) and is none"],
  ])("cannot be %j", async (password, problem) => {
    const { module, programs } = recorded();
    await expect(module.run(runWith({ "org.vmmessage.root-password": password }))).rejects.toThrow(problem);
    expect(programs).toEqual([]);
  });

  test("has no problem that repeats it", () => {
    expect(passwordProblem("$6$hunter2")).not.toContain("hunter2");
  });

  test("is taken from Oracle VM's key when ours is not set", async () => {
    const { module, programs } = recorded();
    await module.run(runWith({ "com.oracle.linux.root-password": "theirs" }));
    await module.run(runWith({ "com.oracle.linux.root-password": "theirs", "org.vmmessage.root-password": "ours" }));
    expect(programs.map(({ input }) => String(input))).toEqual(["root:theirs\n", "root:ours\n"]);
  });

  test("is left alone when no key is set, and says so", async () => {
    const { module, programs } = recorded();
    expect(await module.run(runWith({}))).toEqual({ results: {}, skipped: "org.vmmessage.root-password is not set" });
    expect(programs).toEqual([]);
  });

  test("is not shown by a preview, which sets nothing", async () => {
    const { module, programs } = recorded();
    expect(await module.preview(runWith({ "org.vmmessage.root-password": "hunter2" }))).toEqual([
      "the password of root is set",
    ]);
    expect(programs).toEqual([]);
  });

  test("that chpasswd refuses is a failure with what it printed", async () => {
    const { module } = recorded(1, ["chpasswd: (user root) pam_chauthtok() failed", "chpasswd: not changed"]);
    const failure = await module.run(runWith({ "org.vmmessage.root-password": "x" })).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ModuleError);
    expect(failure).toMatchObject({
      message: "chpasswd: exit code 1: chpasswd: not changed",
      lines: ["chpasswd: (user root) pam_chauthtok() failed", "chpasswd: not changed"],
    });
  });

  test("is a secret, and nothing of it is taken for the other targets", async () => {
    const { module } = recorded();
    const { signal } = new AbortController();
    expect(await module.parameters("configure", signal)).toMatchObject([
      { password: true, keep: false, required: false },
    ]);
    expect(await module.parameters("cleanup", signal)).toEqual([]);
    expect([...module.orders]).toEqual([
      ["configure", 90],
      ["reconfigure", 90],
    ]);
  });
});
