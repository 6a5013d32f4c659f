import { describe, expect, test } from "vitest";
import { usersModule } from "../../../../../agent/bootstrap/builtin/users.ts";
import { ECDSA, ED25519 } from "./keys.ts";
import { runWith } from "./module-runs.ts";
import { ScriptedMachine } from "./scripted-machine.ts";

function machineWith({ users = [] as string[], groups = [] as string[] } = {}): ScriptedMachine {
  const machine = new ScriptedMachine();
  for (const line of users) machine.passwd.set(line.slice(0, line.indexOf(":")), line);
  for (const group of groups) machine.groups.add(group);
  return machine;
}

const ALICE = "alice:x:1000:1000:Alice:/srv/alice:/bin/sh";

function given(users: unknown) {
  return runWith({ "org.vmmessage.users": typeof users === "string" ? users : JSON.stringify(users) });
}

async function configured(machine: ScriptedMachine, users: unknown): Promise<ScriptedMachine> {
  expect(await usersModule(machine).run(given(users))).toEqual({ results: {} });
  return machine;
}

describe("a user that is missing", () => {
  test("is made with a home and without a password", async () => {
    const machine = await configured(machineWith(), [{ name: "bob" }]);
    expect(machine.changes).toEqual(["useradd -m bob"]);
  });

  test("is made as it is wanted", async () => {
    const user = { name: "bob", uid: 2000, shell: "/bin/sh", comment: "Bob, of sales", groups: ["sudo", "adm"] };
    const machine = await configured(machineWith({ groups: ["sudo", "adm"] }), [user]);
    expect(machine.changes).toEqual(["useradd -m -u 2000 -s /bin/sh -c Bob, of sales -G sudo,adm bob"]);
  });

  test("gets its keys as itself, in the home that it was given", async () => {
    const machine = await configured(machineWith(), [{ name: "bob", sshAuthorizedKeys: [ED25519, ECDSA] }]);
    expect(machine.written).toEqual([
      { user: { uid: 1001, gid: 1002 }, home: "/home/bob", input: `${ED25519}\n${ECDSA}\n` },
    ]);
  });
});

describe("a user that is there", () => {
  test("is left as it is where nothing else is wanted", async () => {
    const machine = machineWith({ users: [ALICE], groups: ["sudo"] });
    machine.memberships.set("alice", "alice sudo");
    machine.keys.set("/srv/alice", `700\n600\n${ED25519}\n`);
    const wanted = { name: "alice", uid: 1000, shell: "/bin/sh", comment: "Alice", groups: ["sudo"] };
    await configured(machine, [{ ...wanted, sshAuthorizedKeys: [ED25519] }]);
    expect(machine.changes).toEqual([]);
  });

  test("gets what differs, and leaves no group", async () => {
    const machine = machineWith({ users: [ALICE], groups: ["sudo", "adm"] });
    machine.memberships.set("alice", "alice sudo");
    await configured(machine, [{ name: "alice", shell: "/bin/false", comment: "A.", groups: ["sudo", "adm"] }]);
    expect(machine.changes).toEqual(["usermod -s /bin/false -c A. -a -G adm alice"]);
  });

  test("keeps its keys when none are given, and has none when an empty list is", async () => {
    const machine = machineWith({ users: [ALICE] });
    machine.keys.set("/srv/alice", `700\n600\n${ED25519}\n`);
    await configured(machine, [{ name: "alice" }]);
    expect(machine.written).toEqual([]);
    await configured(machine, [{ name: "alice", sshAuthorizedKeys: [] }]);
    expect(machine.written).toMatchObject([{ input: "" }]);
  });

  test("has its keys made private when others may read or change them", async () => {
    const machine = machineWith({ users: [ALICE] });
    machine.keys.set("/srv/alice", `755\n644\n${ED25519}\n`);
    await configured(machine, [{ name: "alice", sshAuthorizedKeys: [ED25519] }]);
    expect(machine.written).toMatchObject([{ input: `${ED25519}\n` }]);
  });

  test("and is root can be given keys", async () => {
    const machine = machineWith({ users: ["root:x:0:0:root:/root:/bin/bash"] });
    await configured(machine, [{ name: "root", sshAuthorizedKeys: [ED25519] }]);
    expect(machine.written).toEqual([{ user: { uid: 0, gid: 0 }, home: "/root", input: `${ED25519}\n` }]);
  });
});

describe("a list of users changes nothing when", () => {
  test.each([
    ["it is no JSON", '[{"name": "hunter2"', "the list of users is not JSON"],
    ["it is no list", { name: "bob" }, "expected array"],
    ["a user has no name", [{}], "[0].name"],
    ["a name is none", [{ name: "-rf" }], "a user's name is 1 to 32 of"],
    ["a name is a number", [{ name: "1000" }], "a user's name is 1 to 32 of"],
    ["a user stands in it twice", [{ name: "bob" }, { name: "bob" }], "a user stands in it twice"],
    ["a member is not known", [{ name: "bob", password: "hunter2" }], "password"],
    [
      "a key is two",
      [{ name: "bob", sshAuthorizedKeys: [`${ED25519}\n${ED25519}`] }],
      "[0].sshAuthorizedKeys[0]: it holds",
    ],
    [
      "a key is none",
      [{ name: "bob", sshAuthorizedKeys: [ED25519, "hunter2"] }],
      "[0].sshAuthorizedKeys[1]: it has none",
    ],
    ["root is given more than keys", [{ name: "root", shell: "/bin/sh" }], "root can be given sshAuthorizedKeys"],
    ["a shell is no path", [{ name: "bob", shell: "sh" }], "must be an absolute path"],
    [
      "a shell does not exist",
      [{ name: "bob", shell: "/bin/no-such-shell" }],
      "/bin/no-such-shell of 'bob' does not exist",
    ],
    ["a comment would be two fields", [{ name: "bob", comment: "a:b" }], "colons and control characters"],
    ["a comment would be two lines", [{ name: "bob", comment: "a\nb" }], "colons and control characters"],
    ["a number is root's", [{ name: "bob", uid: 0 }], "[0].uid"],
    ["a group's name is an option", [{ name: "bob", groups: ["-x"] }], "it is no name of a group"],
    ["a group is several", [{ name: "bob", groups: ["adm,sudo"] }], "it is no name of a group"],
    ["a group is not known", [{ name: "bob", groups: ["adm", "wheel"] }], "there is no group 'wheel'"],
    ["a user has another number", [{ name: "bob" }, { name: "alice", uid: 1500 }], "'alice' has the number 1000"],
  ])("%s", async (_, users, problem) => {
    const machine = machineWith({ users: [ALICE], groups: ["adm"] });
    const failure = await usersModule(machine)
      .run(given(users))
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: "ModuleError", message: expect.stringContaining(problem) as string });
    expect(String(failure)).not.toContain("hunter2");
    expect(machine.changes).toEqual([]);
  });

  test("users cannot be looked up", async () => {
    const machine = machineWith();
    machine.failing.set("getent bob", "getent: the directory is away");
    const failure = usersModule(machine).run(given([{ name: "bob" }]));
    await expect(failure).rejects.toThrow("getent passwd bob: exit code 1: getent: the directory is away");
    expect(machine.changes).toEqual([]);
  });
});

describe("a user that cannot be configured", () => {
  test("does not keep the others from it, and is told of", async () => {
    const machine = machineWith();
    machine.failing.set("useradd bob", "useradd: group bob exists");
    const users = ["alice", "bob", "carol"].map((name) => ({ name, sshAuthorizedKeys: [ED25519] }));
    const failure = usersModule(machine).run(given(users));
    await expect(failure).rejects.toThrow("useradd: exit code 1: useradd: group bob exists");
    expect(machine.written.map(({ home }) => home)).toEqual(["/home/alice", "/home/carol"]);
  });

  test("is told of with the others that cannot", async () => {
    const machine = machineWith();
    machine.failing.set("useradd bob", "no room");
    machine.failing.set("useradd carol", "no room either");
    const failure = await usersModule(machine)
      .run(given([{ name: "bob" }, { name: "carol" }]))
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({
      message: "useradd: exit code 1: no room; and 1 more",
      lines: ["useradd: exit code 1: no room", "useradd: exit code 1: no room either"],
    });
  });
});

describe("a preview", () => {
  test("shows users, changes and keys, and changes nothing", async () => {
    const machine = machineWith({ users: [ALICE], groups: ["adm"] });
    machine.keys.set("/srv/alice", `700\n600\n${ED25519}\n`);
    const users = [
      { name: "bob", groups: ["adm"], sshAuthorizedKeys: [ED25519] },
      { name: "alice", shell: "/bin/false", sshAuthorizedKeys: [ECDSA] },
    ];
    expect(await usersModule(machine).preview(given(users))).toEqual([
      "the user 'bob' is made: useradd -m -G adm bob",
      "--- /dev/null",
      "+++ ~bob/.ssh/authorized_keys",
      "@@ -0,0 +1,1 @@",
      `+${ED25519}`,
      "the user 'alice' is changed: usermod -s /bin/false alice",
      "--- ~alice/.ssh/authorized_keys",
      "+++ ~alice/.ssh/authorized_keys",
      "@@ -1,1 +1,1 @@",
      `-${ED25519}`,
      `+${ECDSA}`,
    ]);
    expect(machine.changes).toEqual([]);
  });

  test("has nothing to show where all is as it should be, and says when no list is set", async () => {
    const machine = machineWith({ users: [ALICE] });
    expect(await usersModule(machine).preview(given([{ name: "alice" }]))).toEqual([]);
    expect(await usersModule(machine).preview(runWith({}))).toEqual(["org.vmmessage.users is not set"]);
  });
});

test("a list that is no text is refused", async () => {
  const run = runWith({ "org.vmmessage.users": Buffer.from([0xff]) });
  await expect(usersModule(machineWith()).run(run)).rejects.toThrow("org.vmmessage.users is not UTF-8 text");
});
