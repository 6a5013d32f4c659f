import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, readlink, realpath, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type PackageName, packageNames, projectRoot, readRelease } from "../../packaging/release.ts";
import { command, ensureInstalled } from "../../scripts/system-packages.ts";
import { runCommand } from "../vm/harness/command.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../vm/harness/temporary-directory.ts";
import { DebianRoot } from "./debian-root.ts";
import { laterDeb, laterVersion } from "./later-deb.ts";

const release = await readRelease({});
const packageDirectory = join(projectRoot, "build", "packages");
const architectures: Record<PackageName, string> = {
  "vmmessage-agent": "amd64",
  vmmessage: "amd64",
  "vmmessage-manager": "all",
  "vmmessage-ovmd-compat": "all",
};

/** Generous: the machine may be busy with other tests, and an executable takes a second to start then. */
const SOON = { timeout: 60_000, interval: 100 };

let work: string;

beforeAll(async () => {
  await ensureInstalled("the tests of packages", [command("lintian", "lintian")], console.error);
  work = await createTemporaryDirectory();
});

afterAll(async () => {
  await removeTemporaryDirectory(work);
});

function deb(name: PackageName): string {
  return join(packageDirectory, `${name}_${release.packageVersion}_${architectures[name]}.deb`);
}

async function fieldsOf(name: PackageName): Promise<Map<string, string>> {
  const text = await runCommand("dpkg-deb", ["--field", deb(name)]);
  return new Map([...text.matchAll(/^([A-Za-z-]+): (.*)$/gm)].map(([, field = "", value = ""]) => [field, value]));
}

async function later(name: PackageName): Promise<string> {
  const path = join(work, `${name}_${laterVersion}_${architectures[name]}.deb`);
  if (!(await stat(path).catch(() => undefined))) await laterDeb(deb(name), path);
  return path;
}

describe("the .deb packages", () => {
  test.each(packageNames)("%s says what it is", async (name) => {
    const fields = await fieldsOf(name);
    expect(fields.get("Package")).toBe(name);
    expect(fields.get("Version")).toBe(release.packageVersion);
    expect(fields.get("Architecture")).toBe(architectures[name]);
    expect(fields.get("Maintainer")).toMatch(/^.+ <.+@.+>$/);
    expect(fields.get("Multi-Arch")).toBe("foreign");
  });

  test("what has an executable depends on the oldest C and C++ libraries that have its symbols", async () => {
    for (const name of ["vmmessage-agent", "vmmessage"] as const) {
      const depends = (await fieldsOf(name)).get("Depends");
      expect(depends).toMatch(/\blibc6 \(>= 2\.\d+\)/);
      expect(depends).toMatch(/\blibstdc\+\+6 \(>= \d+(\.\d+)?\)/);
    }
  });

  test("the manager goes with the command line of its own version, the compatible names with any of either side", async () => {
    const manager = (await fieldsOf("vmmessage-manager")).get("Depends")?.split(", ");
    expect(manager).toContain(`vmmessage (= ${release.packageVersion})`);
    expect((await fieldsOf("vmmessage-ovmd-compat")).get("Depends")).toBe("vmmessage-agent | vmmessage");
  });

  test.each(packageNames)(
    "every file of %s is root's, and nobody else's to change or to become root by",
    async (name) => {
      const lines = (await runCommand("dpkg-deb", ["--contents", deb(name)])).trim().split("\n");
      for (const line of lines) {
        expect(line).toMatch(/^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx) root\/root /);
        if (line.startsWith("-rwx")) expect(line).toMatch(/ \.\/usr\/bin\/\S+$/);
      }
    },
  );

  test.each([
    ["vmmessage-agent", ["etc/template.d/", "etc/template.d/scripts/", "etc/vmmessage/", "etc/vmmessage/template.d/"]],
    ["vmmessage", ["etc/vmmessage/"]],
    ["vmmessage-manager", ["etc/vmmessage/"]],
    ["vmmessage-ovmd-compat", []],
  ] as const)(
    "%s has the directories that an administrator writes into, and nothing in them",
    async (name, expected) => {
      const paths = (await runCommand("dpkg-deb", ["--contents", deb(name)])).matchAll(/ \.\/(etc\/.+)$/gm);
      expect([...paths].map(([, path]) => path).sort()).toEqual(expected);
    },
  );

  test("every file is of the commit's time", async () => {
    const time = new Date(release.sourceDateEpoch * 1000).toISOString().slice(0, 16).replace("T", " ");
    for (const name of packageNames) {
      const lines = (await runCommand("dpkg-deb", ["--contents", deb(name)], { TZ: "UTC" })).trim().split("\n");
      for (const line of lines) expect(line).toContain(` ${time} `);
    }
  });

  test("no text in them, nor in their scripts, names the place where they were made", async () => {
    const traces = new RegExp(`${projectRoot}/|/tmp/vmmessage-`);
    for (const name of packageNames) {
      const tree = join(work, name);
      await runCommand("dpkg-deb", ["--raw-extract", deb(name), tree]);
      for (const path of await textFilesIn(tree)) expect((await textOf(path)).match(traces), path).toBeNull();
    }
  });

  test("lintian has nothing to say but for what is overridden with a reason", async () => {
    const args = ["--allow-root", "--fail-on=error,warning,info,pedantic", "--display-info", "--pedantic"];
    await expect(runCommand("lintian", [...args, ...packageNames.map(deb)])).resolves.toBe("");
  });
});

async function textFilesIn(tree: string): Promise<string[]> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.filter((path) => !/\/usr\/bin\/(vmmessage|vmmessage-agent)$|\.node$/.test(path));
}

async function textOf(path: string): Promise<string> {
  return path.endsWith(".gz") ? runCommand("gzip", ["-dc", path]) : readFile(path, "utf8");
}

const vmList = "/srv/vms.json";

/** A Debian with a list of VMs: web1 has its agent on a Unix socket, db1 is off. */
async function hostWithVms(): Promise<DebianRoot> {
  const root = await DebianRoot.create();
  const vms = ["web1", "db1"].map((name) => ({ name, socket: `/run/${name}.sock` }));
  await root.write(vmList, JSON.stringify({ vms }));
  return root;
}

/** As an administrator does: into the directory that is there. */
async function configureManager(root: DebianRoot): Promise<void> {
  await writeFile(root.path("/etc/vmmessage/manager.json"), JSON.stringify({ inventory: { files: [vmList] } }));
}

async function untilPrinted(root: DebianRoot, pattern: RegExp, program: string, ...args: string[]): Promise<void> {
  await vi.waitFor(async () => {
    const { stdout, stderr } = await root.run(program, ...args);
    expect(stdout, stderr).toMatch(pattern);
  }, SOON);
}

describe("the host's packages in a clean Debian", () => {
  let root: DebianRoot;
  let before: string[];

  beforeAll(async () => {
    root = await hostWithVms();
    before = await root.files();
    await root.install(deb("vmmessage"), deb("vmmessage-manager"));
  });

  afterAll(async () => {
    await root[Symbol.asyncDispose]();
  });

  test("vmmessage and vmmessaged are one executable, which goes by the name it is called", async () => {
    const executable = await root.output("readlink", "-e", "/usr/sbin/vmmessaged");
    expect(executable).toBe("/usr/bin/vmmessage\n");
    expect(await root.output("vmmessage", "--version")).toContain(`vmmessage ${release.version}`);
    expect(await root.output("vmmessaged", "--version")).toBe(`vmmessaged ${release.version}\n`);
  });

  test("the manager is enabled and its configuration in order", async () => {
    expect(await root.output("systemctl", "is-enabled", "vmmessaged.service")).toBe("enabled\n");
    await configureManager(root);
    expect(await root.output("vmmessaged", "check")).toContain("/srv/vms.json");
  });

  test("a message that waits for a VM is still there after an upgrade", async () => {
    const old = root.start("vmmessaged");
    await untilPrinted(root, /^db1 +Stopped/m, "vmmessage", "vms");
    expect(await root.output("vmmessage", "-v", "db1", "-k", "com.example.role", "-V", "replica")).toContain("queued");
    await root.stop(old);

    await root.install(await later("vmmessage"), await later("vmmessage-manager"));
    expect(await root.output("dpkg-query", "-Wf", "${Version}", "vmmessage-manager")).toBe(laterVersion);
    const upgraded = root.start("vmmessaged");
    await untilPrinted(root, /com\.example\.role/, "vmmessage", "messages", "-v", "db1");
    await root.stop(upgraded);
  });

  test("a manager that was disabled stays so when it is upgraded", async () => {
    await root.output("systemctl", "disable", "vmmessaged.service");
    await root.output("dpkg-reconfigure", "vmmessage-manager");
    expect((await root.run("systemctl", "is-enabled", "vmmessaged.service")).stdout).toBe("disabled\n");
    await root.output("systemctl", "enable", "vmmessaged.service");
  });

  test("there is a group for who may use a socket of the manager's, and nobody is in it", async () => {
    expect(await root.output("getent", "group", "vmmessage")).toMatch(/^vmmessage:[^:]*:\d+:$/m);
  });

  test("removed, they leave the configuration and the messages", async () => {
    await root.remove("vmmessage-manager", "vmmessage");
    const files = await root.files();
    expect(files).toContain("./etc/vmmessage/manager.json");
    expect(files.filter((path) => path.startsWith("./var/lib/vmmessage/manager/"))).not.toEqual([]);
    expect(files).not.toContain("./usr/sbin/vmmessaged");
  });

  test("purged, they leave nothing", async () => {
    await root.purge("vmmessage-manager", "vmmessage");
    expect(await root.files()).toEqual(before);
  });
});

describe("the guest's package in a clean Debian", () => {
  let root: DebianRoot;
  let before: string[];

  beforeAll(async () => {
    root = await DebianRoot.create();
    before = await root.files();
    await root.install(deb("vmmessage-agent"));
  });

  afterAll(async () => {
    await root[Symbol.asyncDispose]();
  });

  test("agent is one of the alternatives of that name, with its manual page", async () => {
    expect(await root.output("vmmessage-agent", "--version")).toBe(`agent ${release.version}\n`);
    expect(await root.output("agent", "--version")).toBe(`agent ${release.version}\n`);
    expect(await root.output("update-alternatives", "--query", "agent")).toMatch(/^Priority: 50$/m);
    expect(await readlink(root.path("/etc/alternatives/agent.8.gz"))).toBe("/usr/share/man/man8/vmmessage-agent.8.gz");
  });

  test("nothing of it is enabled: udev starts the agent, and whoever wants the configuration enables it", async () => {
    for (const unit of ["vmmessage-agent", "vmmessage-bootstrap", "vmmessage-reconfigure"]) {
      expect((await root.run("systemctl", "is-enabled", `${unit}.service`)).stdout, unit).toBe("disabled\n");
    }
  });

  test("the keys, and what was enabled, are the same after an upgrade", async () => {
    await root.output("systemctl", "enable", "vmmessage-bootstrap.service");
    const old = root.start("vmmessage-agent", "run", "--channel=unix:/run/web1.sock");
    await vi.waitFor(() => root.output("agent", "-p", "com.example.ready=yes"), SOON);
    await root.stop(old);

    await root.install(await later("vmmessage-agent"));
    const upgraded = root.start("vmmessage-agent", "run", "--channel=unix:/run/web1.sock");
    await untilPrinted(root, /^yes$/m, "agent", "-g", "com.example.ready");
    await root.stop(upgraded);
    expect(await root.output("systemctl", "is-enabled", "vmmessage-bootstrap.service")).toBe("enabled\n");
  });

  test("removed, it leaves the configuration and the keys, and is no alternative any more", async () => {
    for (const name of ["agent.json", "bootstrap.json"]) await writeFile(root.path(`/etc/vmmessage/${name}`), "{}");
    await writeFile(root.path("/etc/vmmessage/template.d/example"), "#!/bin/sh\n", { mode: 0o755 });
    await root.remove("vmmessage-agent");
    const files = await root.files();
    expect(files).toEqual(expect.arrayContaining(["./etc/vmmessage/agent.json", "./var/lib/vmmessage/cache.json"]));
    expect(files).not.toContain("./usr/bin/agent");
  });

  test("purged, it leaves nothing but the modules that are the administrator's", async () => {
    await root.purge("vmmessage-agent");
    const left = ["./etc/vmmessage", "./etc/vmmessage/template.d", "./etc/vmmessage/template.d/example"];
    // The socket that takes the place of the port is the test's.
    expect(await root.files()).toEqual([...before, ...left, "./run/web1.sock"].sort());
  });
});

describe("both sides and the names of Oracle VM in one Debian", () => {
  let root: DebianRoot;

  beforeAll(async () => {
    root = await hostWithVms();
    await root.install(...packageNames.map(deb));
    await configureManager(root);
    root.start("vmmessage-agent", "run", "--channel=unix:/run/web1.sock");
    root.start("vmmessaged");
    await untilPrinted(root, /^web1 +Running +up/m, "vmmessage", "vms");
  });

  afterAll(async () => {
    await root[Symbol.asyncDispose]();
  });

  test("what the host sends with ovm_vmmessage, the guest reads with ovmd", async () => {
    const sent = await root.output("ovm_vmmessage", "-v", "web1", "-k", "com.example.role", "-V", "frontend");
    expect(sent).toContain("Message sent successfully.");
    expect(await root.output("ovmd", "-g", "com.example.role")).toBe("frontend\n");
    expect(await root.output("ovmd", "--version")).toMatch(/^ovmd /);
  });

  test("ovm-template-config is the agent's configuration", async () => {
    expect(await root.output("ovm-template-config", "--enumerate", "configure")).toContain("com.oracle.linux");
  });

  test("ovmd.service is another name of vmmessage-agent.service", async () => {
    const unit = await realpath(root.path("/usr/lib/systemd/system/ovmd.service"));
    expect(basename(unit)).toBe("vmmessage-agent.service");
  });

  test("the agent's purge leaves what is the manager's, and ovmd names the package that it misses", async () => {
    await root.purge("vmmessage-agent");
    const files = await root.files();
    expect(files).toContain("./etc/vmmessage/manager.json");
    expect(files).not.toContain("./var/lib/vmmessage/cache.json");
    expect(await root.output("vmmessage", "vms")).toContain("web1");
    for (const name of ["ovmd", "ovm-template-config"]) {
      const { exitCode, stderr } = await root.run(name, "-l");
      expect(exitCode).toBe(2);
      expect(stderr).toMatch(new RegExp(`^${name}: /usr/bin/vmmessage-agent does not exist; .*vmmessage-agent.*\n$`));
    }
    expect(await root.output("ovm_vmmessage", "--version")).toContain(release.version);
  });

  test("the manager's purge leaves what is the agent's", async () => {
    await root.install(deb("vmmessage-agent"));
    await writeFile(root.path("/etc/vmmessage/agent.json"), "{}");
    await root.write("/var/lib/vmmessage/cache.json", "{}");
    await root.purge("vmmessage-manager");
    const files = await root.files();
    expect(files).toEqual(expect.arrayContaining(["./etc/vmmessage/agent.json", "./var/lib/vmmessage/cache.json"]));
    expect(files).not.toContain("./var/lib/vmmessage/manager");
    expect(files).not.toContain("./etc/vmmessage/manager.json");
  });

  test("the configuration's directory goes with the last package that has it", async () => {
    await root.purge("vmmessage-agent");
    expect(await root.files()).toContain("./etc/vmmessage");
    await root.output("dpkg", "--force-depends", "--purge", "vmmessage");
    expect(await root.files()).not.toContain("./etc/vmmessage");
  });

  test("without either side the names say so", async () => {
    const { exitCode, stderr } = await root.run("ovm_vmmessage", "-v", "web1", "-q", "com.example.role");
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^ovm_vmmessage: \/usr\/bin\/vmmessage does not exist; .* package vmmessage\b.*\n$/);
  });
});

describe("what the packages ask of systemd and udev", () => {
  let root: DebianRoot;
  const log = "/srv/calls";

  /** In the place of a running systemd: programs that write down what they are asked. Of the units only the manager is enabled. */
  beforeAll(async () => {
    root = await DebianRoot.create();
    await mkdir(root.path("/run/systemd/system"), { recursive: true });
    await root.write(log, "");
    const answer = `case "$*" in *is-enabled*vmmessaged*) echo enabled;; esac`;
    for (const program of ["systemctl", "udevadm"]) {
      await root.write(`/usr/bin/${program}`, `#!/bin/sh\necho "${program} $*" >>${log}\n${answer}\n`, 0o755);
    }
  });

  afterAll(async () => {
    await root[Symbol.asyncDispose]();
  });

  /** What `task` makes them be asked, but for questions. */
  async function asked(task: () => Promise<unknown>): Promise<string[]> {
    await root.write(log, "");
    await task();
    const calls = (await readFile(root.path(log), "utf8")).split("\n");
    return calls.filter((call) => call !== "" && !/ is-(enabled|active) /.test(call));
  }

  async function policy(exitCode: number): Promise<void> {
    await root.write("/usr/sbin/policy-rc.d", `#!/bin/sh\nexit ${exitCode}\n`, 0o755);
  }

  test("the agent's installation makes only the units known where policy-rc.d forbids starts", async () => {
    await policy(101);
    const calls = await asked(() => root.install(deb("vmmessage-agent")));
    expect(calls).toEqual(["systemctl --system daemon-reload"]);
  });

  test("otherwise udev is told of the port once more", async () => {
    await policy(0);
    const calls = await asked(() => root.output("dpkg-reconfigure", "vmmessage-agent"));
    expect(calls.slice(-2)).toEqual(["udevadm control --reload", "udevadm trigger --subsystem-match=virtio-ports"]);
  });

  test("the agent's upgrade restarts what runs, and never configures the machine", async () => {
    const upgrade = await later("vmmessage-agent");
    const calls = await asked(() => root.install(upgrade));
    expect(calls).toContain("systemctl try-restart vmmessage-agent.service");
    expect(calls.filter((call) => /bootstrap|configured\.target|\b(stop|start|enable)\b/.test(call))).toEqual([]);
  });

  test("its removal stops the agent, and none of the applications that require a configured machine", async () => {
    const calls = await asked(() => root.remove("vmmessage-agent"));
    expect(calls).toContain("systemctl stop vmmessage-reconfigure.service vmmessage-agent.service");
    expect(calls).toContain("udevadm trigger --subsystem-match=virtio-ports");
    expect(calls.filter((call) => call.includes("bootstrap"))).toEqual([]);
  });

  test("the manager is started when it is installed, restarted when it is upgraded, stopped when it is removed", async () => {
    const installed = await asked(() => root.install(deb("vmmessage"), deb("vmmessage-manager")));
    expect(installed).toContain("systemctl --quiet --system start vmmessaged.service");
    const upgrades = [await later("vmmessage"), await later("vmmessage-manager")];
    const upgraded = await asked(() => root.install(...upgrades));
    expect(upgraded).toContain("systemctl --quiet --system restart vmmessaged.service");
    expect(upgraded.filter((call) => call.includes(" stop "))).toEqual([]);
    const removed = await asked(() => root.remove("vmmessage-manager"));
    expect(removed).toContain("systemctl stop vmmessaged.service");
  });
});

describe("a build of .deb packages", () => {
  /** Four packages, with the least that the rules expect of each. */
  async function makeStage(directory: string): Promise<void> {
    const texts: Record<string, string> = {
      "vmmessage-agent/usr/share/doc/vmmessage-agent/agent.md": "# The agent\n",
      "vmmessage/usr/share/doc/vmmessage/vmmessage.md": "# The command line\n",
      "vmmessage-manager/usr/lib/systemd/system/vmmessaged.service": "[Service]\nExecStart=/usr/sbin/vmmessaged\n",
      "vmmessage-ovmd-compat/usr/bin/ovmd": "#!/bin/bash\n",
    };
    for (const unit of ["agent", "bootstrap", "reconfigure"]) {
      texts[`vmmessage-agent/usr/lib/systemd/system/vmmessage-${unit}.service`] = "[Service]\nExecStart=/bin/true\n";
    }
    for (const [path, text] of Object.entries(texts)) {
      await mkdir(join(directory, path, ".."), { recursive: true });
      await writeFile(join(directory, path), text);
    }
    await mkdir(join(directory, "vmmessage-agent/usr/bin"));
    await runCommand("install", ["-m755", "/usr/bin/true", join(directory, "vmmessage-agent/usr/bin/vmmessage-agent")]);
  }

  /** Builds in a process of its own, which `prefix` starts, and returns what sha256sum(1) says of the packages. */
  async function build(stageDir: string, outDir: string, prefix: string[], env: NodeJS.ProcessEnv): Promise<string> {
    const program = JSON.stringify(join(projectRoot, "packaging", "deb", "build-deb.ts"));
    const inputs = JSON.stringify({ stageDir, outDir, release });
    const script = `const { buildDebs } = await import(${program}); await buildDebs({ ...${inputs}, log: () => {} });`;
    const words = [...prefix, process.execPath, "--input-type=module", "--eval", script];
    await promisify(execFile)(words[0] ?? "", words.slice(1), { env: { ...process.env, ...env } });
    const names = (await readdir(outDir)).sort();
    const { stdout } = await promisify(execFile)("sha256sum", names, { cwd: outDir });
    return stdout;
  }

  test("gives the same bytes to an ordinary user of another machine, whatever the umask, the time zone and the language", async () => {
    const stages = [join(work, "stage"), join(work, "another stage")] as const;
    for (const stage of stages) await makeStage(stage);
    const here = await build(stages[0], join(work, "here"), ["sh", "-c", 'umask 022; exec "$@"', "sh"], {});

    // A user of a namespace of its own cannot choose whose the files are that it makes.
    const asUser = 'umask 077; hostname elsewhere; exec unshare --map-user=65534 --map-group=65534 "$@"';
    const elsewhere = ["unshare", "--uts", "sh", "-c", asUser, "sh"];
    const env = { TZ: "Pacific/Auckland", LANG: "de_DE.UTF-8", LC_ALL: "", TMPDIR: await createTemporaryDirectory() };
    const there = await build(stages[1], join(work, "there"), elsewhere, env);

    expect(here.trim().split("\n")).toHaveLength(packageNames.length);
    expect(there).toBe(here);
  });
});
