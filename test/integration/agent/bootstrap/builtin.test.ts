/** The ready-made modules, with files below a directory of their own, and with real programs on a machine of their own. */
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { hostnameModule } from "../../../../agent/bootstrap/builtin/hostname.ts";
import { runProgram } from "../../../../agent/bootstrap/run-program.ts";
import { ECDSA, ED25519 } from "../../../unit/agent/bootstrap/builtin/keys.ts";
import { runWith } from "../../../unit/agent/bootstrap/builtin/module-runs.ts";
import { onOwnMachine, type Step } from "./on-own-machine.ts";

const isRoot = process.getuid?.() === 0;

const nothing = { result: { results: {} } };

describe("the files of the host name", () => {
  let root: string;
  let programs: string[];
  let failing: string[];

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "vmmessage-builtin-"));
    programs = [];
    failing = [];
    for (const directory of ["etc", "proc/sys/kernel", "run"]) mkdirSync(join(root, directory), { recursive: true });
    writeFileSync(join(root, "etc/hostname"), "debian\n");
    writeFileSync(join(root, "etc/hosts"), "127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n");
    writeFileSync(join(root, "proc/sys/kernel/hostname"), "debian\n");
  });
  afterEach(async () => {
    await rm(root, { recursive: true });
  });

  function module() {
    return hostnameModule({
      root,
      run: ({ file, args }) => {
        programs.push([file, ...args].join(" "));
        const code = failing.includes(file) ? 1 : 0;
        return Promise.resolve({ exit: { type: "code", code }, stdout: Buffer.alloc(0), lines: [`${file} says why`] });
      },
    });
  }

  const contents = (name: string): string => readFileSync(join(root, name), "utf8");
  const named = (name: string) => module().run(runWith({ "org.vmmessage.hostname": name }));

  test("have the new one, and the kernel is told", async () => {
    expect(await named("web1.example.org")).toEqual({ results: {} });
    expect(contents("etc/hostname")).toBe("web1.example.org\n");
    expect(contents("etc/hosts")).toBe("127.0.0.1\tlocalhost\n127.0.1.1\tweb1.example.org web1\n");
    expect(programs).toEqual(["hostname web1.example.org"]);
    expect(readdirSync(join(root, "etc"))).toEqual(["hostname", "hosts"]);
  });

  test("are not touched when they have it already", async () => {
    const inodes = () => ["etc/hostname", "etc/hosts"].map((name) => statSync(join(root, name)).ino);
    const before = inodes();
    await named("debian");
    expect(inodes()).toEqual(before);
    expect(programs).toEqual([]);
  });

  test("keep their modes, and links to them", async () => {
    mkdirSync(join(root, "state"));
    writeFileSync(join(root, "state/hostname"), "debian\n");
    chmodSync(join(root, "state/hostname"), 0o640);
    await rm(join(root, "etc/hostname"));
    symlinkSync("../state/hostname", join(root, "etc/hostname"));
    await named("web1");
    expect(lstatSync(join(root, "etc/hostname")).isSymbolicLink()).toBe(true);
    expect(contents("state/hostname")).toBe("web1\n");
    expect(statSync(join(root, "state/hostname")).mode & 0o777).toBe(0o640);
  });

  test("are made where there are none, for everybody to read", async () => {
    await rm(join(root, "etc"), { recursive: true });
    mkdirSync(join(root, "etc"));
    await named("web1");
    expect(contents("etc/hostname")).toBe("web1\n");
    expect(contents("etc/hosts")).toBe("127.0.1.1\tweb1\n");
    expect(statSync(join(root, "etc/hosts")).mode & 0o777).toBe(0o644);
  });

  test("are written over what a run that was cut off left beside them", async () => {
    writeFileSync(join(root, "etc/.hostname.vmmessage-new"), "we");
    await named("web1");
    expect(contents("etc/hostname")).toBe("web1\n");
    expect(readdirSync(join(root, "etc"))).toEqual(["hostname", "hosts"]);
  });

  test("stay as they are when the name is none", async () => {
    await expect(named("web_1")).rejects.toThrow("'web_1': a host name is made of labels");
    await expect(named("web1\n127.0.0.1 evil")).rejects.toThrow(String.raw`'web1\u000a127.0.0.1 evil': a host name`);
    expect(contents("etc/hostname")).toBe("debian\n");
    expect(programs).toEqual([]);
  });

  test("that cannot be written are named, and nothing is left beside them", async () => {
    await rm(join(root, "etc/hostname"));
    mkdirSync(join(root, "etc/hostname"));
    await expect(named("web1")).rejects.toThrow("/etc/hostname cannot be read: EISDIR");
    expect(contents("etc/hosts")).toContain("debian");
  });

  test("are shown by a preview as they would change", async () => {
    expect(await module().preview(runWith({ "com.oracle.linux.network.hostname": "web1" }))).toEqual([
      "--- /etc/hosts",
      "+++ /etc/hosts",
      "@@ -1,2 +1,2 @@",
      " 127.0.0.1\tlocalhost",
      "-127.0.1.1\tdebian",
      "+127.0.1.1\tweb1",
      "--- /etc/hostname",
      "+++ /etc/hostname",
      "@@ -1,1 +1,1 @@",
      "-debian",
      "+web1",
      "the host name becomes web1, now it is debian",
    ]);
    expect(contents("etc/hostname")).toBe("debian\n");
    expect(programs).toEqual([]);
  });

  test("are told to systemd where it runs, and to the kernel where systemd's bus does not", async () => {
    mkdirSync(join(root, "run/systemd/system"), { recursive: true });
    await named("web1");
    expect(programs).toEqual(["hostnamectl set-hostname web1"]);
    failing = ["hostnamectl"];
    await named("web2");
    expect(programs.slice(1)).toEqual(["hostnamectl set-hostname web2", "hostname web2"]);
    failing = ["hostnamectl", "hostname"];
    await expect(named("web3")).rejects.toThrow("hostname: exit code 1: hostname says why");
  });
});

test.skipIf(!isRoot)(
  "a program that runs as a user has none of root's groups, nor root's number anywhere",
  async () => {
    const { signal } = new AbortController();
    const script = "id -G; grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status";
    const run = { file: "sh", args: ["-c", script], user: { uid: 4711, gid: 4712 }, signal, maxStdoutBytes: 4096 };
    const { stdout } = await runProgram(run);
    expect(
      stdout
        .toString()
        .replace(/[ \t]+/g, " ")
        .split("\n"),
    ).toEqual([
      "4712",
      "Uid: 4711 4711 4711 4711",
      "Gid: 4712 4712 4712 4712",
      "Groups: ",
      "CapEff: 0000000000000000",
      "",
    ]);
  },
);

describe.skipIf(!isRoot)("on a machine of their own", () => {
  const users = (...list: object[]): Step => {
    return { module: "users", values: { "org.vmmessage.users": JSON.stringify(list) } };
  };
  const alice = { name: "alice", sshAuthorizedKeys: [ED25519] };

  test("the host name is there at once, and resolves", async () => {
    const outcomes = await onOwnMachine([
      { module: "hostname", values: { "org.vmmessage.hostname": "web1.example.org" } },
      { sh: "hostname; cat /etc/hostname; getent hosts web1 | tr -s ' '" },
    ]);
    expect(outcomes).toEqual([
      nothing,
      { result: "web1.example.org\nweb1.example.org\n127.0.1.1 web1.example.org web1\n" },
    ]);
    expect(readFileSync("/proc/sys/kernel/hostname", "utf8")).not.toContain("web1");
  });

  test("a user is made once, and its keys are its own", async () => {
    const look = { sh: "find /home/alice/.ssh -printf '%u %g %m %P %i\\n'; cat /home/alice/.ssh/authorized_keys" };
    const wanted = { ...alice, uid: 4321, groups: ["adm", "www-data"], shell: "/bin/sh", comment: "Alice L." };
    const outcomes = await onOwnMachine([
      users(wanted),
      { sh: "getent passwd alice; id -nG alice; passwd -S alice | cut -d' ' -f1-2" },
      look,
      users(wanted),
      { ...users(wanted), preview: true },
      look,
      { sh: "getent passwd alice; test -e /home/alice/.ssh/.authorized_keys.new || echo clean" },
    ]);
    const passwd = expect.stringMatching(/^alice:x:4321:\d+:Alice L\.:\/home\/alice:\/bin\/sh\n/) as string;
    expect(outcomes[0]).toEqual(nothing);
    expect(outcomes[1]).toEqual({ result: passwd });
    expect(outcomes[1]).toEqual({ result: expect.stringContaining("\nalice adm www-data\nalice L\n") as string });
    expect(outcomes[2]).toEqual({
      result: expect.stringMatching(/^alice alice 700 {2}\d+\nalice alice 600 authorized_keys \d+\n/) as string,
    });
    expect(outcomes.slice(3, 6)).toEqual([nothing, { result: [] }, outcomes[2]]);
    expect(outcomes[6]).toEqual({ result: expect.stringContaining("clean") as string });
    expect(readFileSync("/etc/passwd", "utf8")).not.toContain("alice:x:4321");
  });

  test("a user that is there gets what differs, and its keys become exactly those that are given", async () => {
    const outcomes = await onOwnMachine([
      {
        sh: `useradd -m -G adm alice; mkdir -m 755 /home/alice/.ssh; echo '${ECDSA}' >/home/alice/.ssh/authorized_keys; chown -R alice: /home/alice/.ssh`,
      },
      users({ ...alice, shell: "/bin/sh", groups: ["www-data"] }, { name: "root", sshAuthorizedKeys: [ECDSA] }),
      {
        sh: "getent passwd alice | cut -d: -f7; id -nG alice; cat /home/alice/.ssh/authorized_keys; stat -c %a /home/alice/.ssh",
      },
      { sh: "cat /root/.ssh/authorized_keys; stat -c '%U %a' /root/.ssh/authorized_keys" },
      users({ name: "bob" }),
      { sh: "cat /home/alice/.ssh/authorized_keys" },
    ]);
    expect(outcomes.slice(1)).toEqual([
      nothing,
      { result: `/bin/sh\nalice adm www-data\n${ED25519}\n700\n` },
      { result: `${ECDSA}\nroot 600\n` },
      nothing,
      { result: `${ED25519}\n` },
    ]);
  });

  describe("a user that wants root to write elsewhere gets nothing by", () => {
    const home = "/home/alice";
    const secret = "/root/vmmessage-victim";

    test.each([
      ["a link in the keys' place", `mkdir ${home}/.ssh; ln -s ${secret} ${home}/.ssh/authorized_keys`, undefined],
      [
        "a link in the new file's place",
        `mkdir ${home}/.ssh; ln -s ${secret} ${home}/.ssh/.authorized_keys.new`,
        undefined,
      ],
      ["a pipe in the keys' place", `mkdir ${home}/.ssh; mkfifo ${home}/.ssh/authorized_keys`, undefined],
      ["a link in the directory's place", `ln -s /root ${home}/.ssh`, "writing the keys in /home/alice as 'alice'"],
      ["a link to nowhere in the directory's place", `ln -s /root/new ${home}/.ssh`, "mkdir: cannot create directory"],
      ["a directory in the keys' place", `mkdir -p ${home}/.ssh/authorized_keys`, "mv: cannot overwrite directory"],
    ])("%s", async (_, trap, error) => {
      const [, configured, after] = await onOwnMachine([
        { sh: `echo precious >${secret}; chmod 600 ${secret}; useradd -m alice; ${trap}; chown -hR alice: ${home}` },
        users(alice),
        {
          sh: `cat ${secret}; ls -A /root | grep -E '^(authorized_keys|new)$' || cat ${home}/.ssh/authorized_keys 2>&1 || true`,
        },
      ]);
      expect(after).toEqual({ result: expect.stringMatching(/^precious\n(?!authorized_keys|new)/) as string });
      if (error !== undefined) expect(configured).toEqual({ error: expect.stringContaining(error) as string });
      else expect([configured, after]).toEqual([nothing, { result: `precious\n${ED25519}\n` }]);
    });
  });

  test("a user without a home, or whose home is full, keeps the keys that it has, and the others get theirs", async () => {
    const bob = { name: "bob", sshAuthorizedKeys: [ED25519, ...Array<string>(40).fill(ECDSA)] };
    const outcomes = await onOwnMachine([
      { sh: "useradd -M alice; useradd -m bob; mount -t tmpfs -o size=4k none /home/bob; chown bob: /home/bob" },
      { sh: `cd /home/bob; mkdir .ssh; echo '${ED25519}' >.ssh/authorized_keys; chown -R bob: .ssh` },
      users(alice, bob, { name: "carol", sshAuthorizedKeys: [ED25519] }),
      { sh: "cat /home/bob/.ssh/authorized_keys; ls -A /home/bob/.ssh; cat /home/carol/.ssh/authorized_keys" },
    ]);
    expect(outcomes[2]).toEqual({
      error: expect.stringMatching(
        /reading the keys in \/home\/alice as 'alice': .*\/home\/alice.*; and 1 more/,
      ) as string,
    });
    expect(outcomes[3]).toEqual({ result: `${ED25519}\nauthorized_keys\n${ED25519}\n` });
  });

  test("what useradd refuses is said in its words", async () => {
    const [, outcome] = await onOwnMachine([{ sh: "groupadd alice" }, users(alice)]);
    expect(outcome).toEqual({ error: expect.stringMatching(/^useradd: exit code 9: .*group alice exists/) as string });
  });

  test("root's password is the one that was given, in plain or as a hash", async () => {
    const set = (password: string): Step => ({
      module: "root-password",
      values: { "org.vmmessage.root-password": password },
    });
    const hash = `$6$saltsalt$${"A".repeat(86)}`;
    const fits = `hash=$(getent shadow root | cut -d: -f2); test "$(perl -e 'print crypt(":a:b c", $ARGV[0])' "$hash")" = "$hash" && echo fits`;
    const outcomes = await onOwnMachine([
      set(":a:b c"),
      { sh: fits },
      set(hash),
      { sh: "getent shadow root | cut -d: -f2" },
    ]);
    expect(outcomes).toEqual([nothing, { result: "fits\n" }, nothing, { result: `${hash}\n` }]);
  });
});
