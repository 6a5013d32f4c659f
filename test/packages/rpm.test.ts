import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, readFile, readlink, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type PackageName, packageNames, projectRoot, readRelease, type Release } from "../../packaging/release.ts";
import { buildRpms } from "../../packaging/rpm/build-rpm.ts";
import { command, ensureInstalled } from "../../scripts/system-packages.ts";
import { runCommand } from "../vm/harness/command.ts";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../vm/harness/temporary-directory.ts";
import { RpmRoot } from "./rpm-root.ts";

const release = await readRelease({});
const buildDirectory = join(projectRoot, "build");
const packageDirectory = join(buildDirectory, "packages");

const architectures: Record<PackageName, { rpm: string; deb: string }> = {
  "vmmessage-agent": { rpm: "x86_64", deb: "amd64" },
  vmmessage: { rpm: "x86_64", deb: "amd64" },
  "vmmessage-manager": { rpm: "noarch", deb: "all" },
  "vmmessage-ovmd-compat": { rpm: "noarch", deb: "all" },
};
const withExecutable = ["vmmessage-agent", "vmmessage"] as const;

/** Whatever is released next is less. */
const laterRelease: Release = { ...release, packageVersion: "9999" };

/** rpm's word for a payload that is not compressed, which takes no time. */
const uncompressed = "w.ufdio";

/** Generous: the machine may be busy with other tests, and an executable takes a second to start then. */
const SOON = { timeout: 60_000, interval: 100 };

let work: string;

beforeAll(async () => {
  await ensureInstalled("the tests of packages", [command("rpmlint", "rpmlint")], console.error);
  work = await createTemporaryDirectory();
});

afterAll(async () => {
  await removeTemporaryDirectory(work);
});

function rpm(name: PackageName, { packageVersion } = release, directory = packageDirectory): string {
  return join(directory, `${name}-${packageVersion}-1.${architectures[name].rpm}.rpm`);
}

function deb(name: PackageName): string {
  return join(packageDirectory, `${name}_${release.packageVersion}_${architectures[name].deb}.deb`);
}

/** The packages of the same files as their next version. */
async function later(...names: PackageName[]): Promise<string[]> {
  const outDir = join(work, "later");
  if (!(await stat(outDir).catch(() => undefined))) {
    const stageDir = join(buildDirectory, "stage");
    await buildRpms({ stageDir, outDir, release: laterRelease, payload: uncompressed, log: () => undefined });
  }
  return names.map((name) => rpm(name, laterRelease, outDir));
}

async function query(name: PackageName, format: string): Promise<string> {
  return runCommand("rpm", ["--query", "--package", rpm(name), "--queryformat", format]);
}

interface PackagedFile {
  path: string;
  /** As ls(1) writes it. */
  mode: string;
  owner: string;
  link: string;
  modifiedAt: number;
  /** "g" for a ghost, "d" for a document, "l" for a licence. */
  flags: string;
  /** SHA-256; none of links and directories. */
  digest: string;
}

async function filesOf(name: PackageName): Promise<PackagedFile[]> {
  const owner = "%{FILEUSERNAME}:%{FILEGROUPNAME}";
  const columns = [
    "%{FILEMODES:perms}",
    owner,
    "%{FILELINKTOS}",
    "%{FILEMTIMES}",
    "%{FILEFLAGS:fflags}",
    "%{FILEDIGESTS}",
  ];
  const lines = (await query(name, `[%{FILENAMES}|${columns.join("|")}\n]`)).trim().split("\n");
  return lines.map((line) => {
    const [path = "", mode = "", owner = "", link = "", time = "", flags = "", digest = ""] = line.split("|");
    return { path, mode, owner, link, modifiedAt: Number(time), flags, digest };
  });
}

/** What a package needs but the symbols of libraries and what rpm itself can do, each once. */
async function requirementsOf(name: PackageName): Promise<string[]> {
  return (await allRequirementsOf(name)).filter((line) => !/^(rpmlib|rtld)\(|\(64bit\)$/.test(line));
}

async function allRequirementsOf(name: PackageName): Promise<string[]> {
  const lines = (await runCommand("rpm", ["--query", "--requires", "--package", rpm(name)])).trim().split("\n");
  return [...new Set(lines)];
}

/** Whether version `a`, such as "2.9", is not after `b`, such as "2.28". */
function isAtMost(a: string, b: string): boolean {
  return a.localeCompare(b, "en", { numeric: true }) <= 0;
}

describe("the .rpm packages", () => {
  test.each(packageNames)("%s says what it is, and of its maker no more than that", async (name) => {
    const tags = ["NAME", "VERSION", "RELEASE", "ARCH", "BUILDHOST", "BUILDTIME", "VENDOR"];
    expect((await query(name, tags.map((tag) => `%{${tag}}`).join("|"))).split("|")).toEqual([
      ...[name, release.packageVersion, "1", architectures[name].rpm],
      ...["localhost", String(release.sourceDateEpoch), "vmmessage maintainers"],
    ]);
    const everything = await runCommand("rpm", ["--query", "--xml", "--package", rpm(name)]);
    for (const place of [projectRoot, "/tmp/"]) expect(everything).not.toContain(place);
    expect(everything.split(/[^\w.-]+/)).not.toContain(hostname());
  });

  test("an rpm of Red Hat Enterprise Linux 8 or openSUSE Leap 15, both 4.14, can read them", async () => {
    const known = ["CompressedFileNames", "FileDigests", "PayloadFilesHavePrefix", "PayloadIsXz", "RichDependencies"];
    // The version of a candidate has a tilde.
    const features = [...known, "TildeInVersions"].map((feature) => `rpmlib(${feature})`);
    for (const name of packageNames) {
      const asked = (await allRequirementsOf(name)).filter((line) => line.startsWith("rpmlib("));
      expect(features).toEqual(expect.arrayContaining(asked.map((line) => line.replace(/ .*/, ""))));
      expect(await query(name, "%{PAYLOADCOMPRESSOR} %{FILEDIGESTALGO}")).toBe("xz 8");
      expect(await runCommand("rpm", ["--checksig", rpm(name)])).toMatch(/: digests OK\n$/);
    }
  });

  test("what has an executable needs no symbol that those distributions have not", async () => {
    const newest: Record<string, string> = { GLIBC: "2.28", GLIBCXX: "3.4.25", CXXABI: "1.3.11", GCC: "8" };
    for (const name of withExecutable) {
      const symbols = (await allRequirementsOf(name)).join("\n").matchAll(/\((GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)\)/g);
      const all = [...symbols];
      expect(all.map(([, family]) => family)).toEqual(expect.arrayContaining(["GLIBC", "GLIBCXX"]));
      for (const [symbol, family = "", version = ""] of all) {
        expect(isAtMost(version, newest[family] ?? ""), `${name}: ${symbol}`).toBe(true);
      }
    }
  });

  test("apart from that they need what has the same name in Fedora, Red Hat's and openSUSE", async () => {
    expect(await requirementsOf("vmmessage")).toEqual([]);
    expect(await requirementsOf("vmmessage-agent")).toEqual(["/bin/sh", "/usr/sbin/update-alternatives", "systemd"]);
    const ownVersion = `vmmessage = ${release.packageVersion}-1`;
    expect(await requirementsOf("vmmessage-manager")).toEqual(["/bin/sh", "systemd", ownVersion]);
    const anySide = "(vmmessage-agent or vmmessage)";
    expect(await requirementsOf("vmmessage-ovmd-compat")).toEqual([anySide, "/bin/bash", "/bin/sh"]);
  });

  test.each(packageNames)("%s provides nothing but itself", async (name) => {
    const provided = await runCommand("rpm", ["--query", "--provides", "--package", rpm(name)]);
    for (const line of provided.trim().split("\n"))
      expect(line.replace("(x86-64)", "")).toBe(`${name} = ${release.packageVersion}-1`);
  });

  test.each(packageNames)(
    "every file of %s is root's, nobody else's to change, and of the commit's time",
    async (name) => {
      for (const { path, mode, owner, modifiedAt } of await filesOf(name)) {
        expect(mode, path).toMatch(/^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx)$/);
        if (mode.startsWith("-rwx")) expect(path).toMatch(/^\/usr\/bin\/[^/]+$/);
        expect(owner).toBe("root:root");
        expect(modifiedAt, path).toBe(release.sourceDateEpoch);
      }
    },
  );

  test.each(packageNames)("%s has the files of the .deb, but for what only one of the systems has", async (name) => {
    const ofRpm = (await filesOf(name))
      .filter(({ mode, flags }) => !mode.startsWith("d") && !flags.includes("g"))
      .filter(({ path }) => path !== `/usr/share/licenses/${name}/LICENSE`)
      .map(({ path, mode, link, digest }) => ({ path, mode, link, digest }));
    expect(ofRpm).toEqual(await filesOfDeb(name));
  });

  test.each([
    ["vmmessage-agent", ["/etc/template.d", "/etc/template.d/scripts", "/etc/vmmessage", "/etc/vmmessage/template.d"]],
    ["vmmessage", ["/etc/vmmessage"]],
    ["vmmessage-manager", ["/etc/vmmessage"]],
    ["vmmessage-ovmd-compat", []],
  ] as const)(
    "%s has the directories that an administrator writes into, and nothing in them",
    async (name, expected) => {
      const paths = (await filesOf(name)).map(({ path }) => path);
      expect(paths.filter((path) => path.startsWith("/etc/"))).toEqual(expected);
    },
  );

  test.each(packageNames)("the scripts of %s are such that any POSIX shell reads them", async (name) => {
    for (const tag of ["PREIN", "POSTIN", "PREUN", "POSTUN", "PRETRANS", "POSTTRANS"]) {
      const script = join(work, `${name}.${tag}`);
      await writeFile(script, await query(name, `%{${tag}}`));
      for (const shell of [["dash"], ["bash", "--posix"]]) {
        await runCommand(shell[0] ?? "", [...shell.slice(1), "-n", script]);
      }
    }
  });

  test.each(packageNames)("every command of %s has a manual page, and licences are marked as such", async (name) => {
    const files = await filesOf(name);
    const pages = files.flatMap(({ path }) => /^\/usr\/share\/man\/man\d\/(.+)\.\d\.gz$/.exec(path)?.[1] ?? []);
    const commands = files.flatMap(({ path }) => /^\/usr\/s?bin\/(.+)$/.exec(path)?.[1] ?? []);
    expect(pages).toEqual(expect.arrayContaining(commands));
    const licences = files.filter(({ path }) => /LICENSE$|licences\.txt$/.test(path));
    expect(licences).not.toEqual([]);
    for (const { path, flags } of licences) expect(flags, path).toContain("l");
  });

  test.each(withExecutable)("the licence of %s names every licence of its bill of materials", async (name) => {
    const sbom = join(buildDirectory, "stage", name, "usr/share/doc", name, `${name}.cdx.json`);
    const { components } = JSON.parse(await readFile(sbom, "utf8")) as {
      components: { licenses: { license: { id: string } }[] }[];
    };
    const ids = components.flatMap(({ licenses }) => licenses.map(({ license }) => license.id));
    expect((await query(name, "%{LICENSE}")).split(" AND ")).toEqual([...new Set([...ids, "Apache-2.0"])].sort());
  });

  test("rpmlint has nothing to say but for what is filtered with a reason", async () => {
    const config = join(projectRoot, "packaging", "rpm", "rpmlint.toml");
    const lint = ["rpmlint", "--config", config, ...packageNames.map((name) => rpm(name))];
    // It fails at errors only; what counts is what it prints.
    const text = await runCommand("sh", ["-c", '"$@" || :', "sh", ...lint]);
    expect(text).toContain("4 packages and 0 specfiles checked");
    expect(text.split("\n").filter((line) => /: [EW]: /.test(line))).toEqual([]);
  });
});

/** What Debian wants in its packages and others do not. */
const debianOnly = /^\/usr\/share\/(lintian\/|doc\/[^/]+\/(copyright|changelog\.gz)$)/;

/** Debian's long documents are compressed; they are compared as they were before. */
const compressedDocument = /^(\/usr\/share\/doc\/.*)\.gz$/;

async function filesOfDeb(name: PackageName): Promise<Pick<PackagedFile, "path" | "mode" | "link" | "digest">[]> {
  const tree = join(work, `${name}.deb`);
  await runCommand("dpkg-deb", ["--extract", deb(name), tree]);
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => !entry.isDirectory()).map(({ parentPath, name }) => join(parentPath, name));
  const files = paths
    .filter((path) => !debianOnly.test(path.slice(tree.length)))
    .map(async (file) => {
      const path = file.slice(tree.length);
      const mode = (await runCommand("stat", ["--format=%A", file])).trim();
      if (mode.startsWith("l")) return { path, mode, link: await readlink(file), digest: "" };
      const document = compressedDocument.exec(path)?.[1];
      const content = document === undefined ? await readFile(file) : await runCommand("gzip", ["-dc", file]);
      return { path: document ?? path, mode, link: "", digest: createHash("sha256").update(content).digest("hex") };
    });
  return (await Promise.all(files)).sort((a, b) => (a.path < b.path ? -1 : 1));
}

const vmList = "/srv/vms.json";

/** Says what Fedora and openSUSE say of services that they do not know. */
const presets = "/usr/lib/systemd/system-preset/99-default-disable.preset";

/** A root with a list of VMs: web1 has its agent on a Unix socket, db1 is off. */
async function hostWithVms(): Promise<RpmRoot> {
  const root = await RpmRoot.create();
  const vms = ["web1", "db1"].map((name) => ({ name, socket: `/run/${name}.sock` }));
  await root.debian.write(vmList, JSON.stringify({ vms }));
  await root.debian.write(presets, "disable *\n");
  return root;
}

/** As an administrator does: into the directory that is there. */
async function configureManager({ debian }: RpmRoot): Promise<void> {
  await writeFile(debian.path("/etc/vmmessage/manager.json"), JSON.stringify({ inventory: { files: [vmList] } }));
}

async function untilPrinted({ debian }: RpmRoot, pattern: RegExp, program: string, ...args: string[]): Promise<void> {
  await vi.waitFor(async () => {
    const { stdout, stderr } = await debian.run(program, ...args);
    expect(stdout, stderr).toMatch(pattern);
  }, SOON);
}

async function isEnabled({ debian }: RpmRoot, unit: string): Promise<string> {
  return (await debian.run("systemctl", "is-enabled", unit)).stdout.trim();
}

/** Paths that are there now and were not before; none may be missing. */
function added(before: readonly string[], now: readonly string[]): string[] {
  expect(now).toEqual(expect.arrayContaining([...before]));
  return now.filter((path) => !before.includes(path));
}

describe("the host's packages in a Debian with rpm's database, which is no RPM distribution", () => {
  let root: RpmRoot;
  let before: string[];

  beforeAll(async () => {
    root = await hostWithVms();
    before = await root.files();
  });

  afterAll(async () => {
    await root[Symbol.asyncDispose]();
  });

  test("the manager is not installed without the command line of its own version, nor Oracle's names without any", async () => {
    await expect(root.install(rpm("vmmessage-manager"))).rejects.toThrow(
      /vmmessage = \S+ is needed by vmmessage-manager/,
    );
    const older = [...(await later("vmmessage-manager")), rpm("vmmessage")];
    await expect(root.install(...older)).rejects.toThrow(/vmmessage = 9999-1 is needed by vmmessage-manager/);
    await expect(root.install(rpm("vmmessage-ovmd-compat"))).rejects.toThrow(
      /\(vmmessage-agent or vmmessage\) is needed/,
    );
    expect(await root.files()).toEqual(before);
  });

  test("with its dependencies fulfilled it is installed, and the executable goes by the name it is called", async () => {
    await root.install(rpm("vmmessage"), rpm("vmmessage-manager"));
    expect(await root.debian.output("vmmessage", "--version")).toContain(`vmmessage ${release.version}`);
    expect(await root.debian.output("vmmessaged", "--version")).toBe(`vmmessaged ${release.version}\n`);
    await root.rpm("--verify", "vmmessage", "vmmessage-manager");
  });

  test("its group is made, and the manager is enabled where the presets say so", async () => {
    expect(await readFile(root.debian.path("/etc/group"), "utf8")).toMatch(/^vmmessage:/m);
    expect(await isEnabled(root, "vmmessaged.service")).toBe("disabled");
    await root.erase("vmmessage-manager");
    const ours = "/etc/systemd/system-preset/50-vmmessage.preset";
    await root.debian.write(ours, "enable vmmessaged.service\n");
    await root.install(rpm("vmmessage-manager"));
    expect(await isEnabled(root, "vmmessaged.service")).toBe("enabled");
    await root.debian.output("rm", "-r", dirname(ours));
  });

  test("a message that waits for a VM is still there after an upgrade, and what is enabled stays so", async () => {
    await configureManager(root);
    const old = root.debian.start("vmmessaged");
    await untilPrinted(root, /^db1 +Stopped/m, "vmmessage", "vms");
    const sent = await root.debian.output("vmmessage", "-v", "db1", "-k", "com.example.role", "-V", "replica");
    expect(sent).toContain("queued");
    await root.debian.stop(old);

    await root.upgrade(...(await later("vmmessage", "vmmessage-manager")));
    expect(await root.rpm("--query", "vmmessage", "vmmessage-manager")).toMatch(
      /^(vmmessage(-manager)?-9999-1\.\w+\n){2}$/,
    );
    expect(await isEnabled(root, "vmmessaged.service")).toBe("enabled");
    const upgraded = root.debian.start("vmmessaged");
    await untilPrinted(root, /com\.example\.role/, "vmmessage", "messages", "-v", "db1");
    await root.debian.stop(upgraded);
  });

  test("erased, they leave nothing but the data, the configuration and the group", async () => {
    await root.erase("vmmessage-manager", "vmmessage");
    const left = added(before, await root.files());
    const data = /^\.\/(etc\/vmmessage(\/manager\.json)?|(var\/lib|run)\/vmmessage(\/.*)?)$/;
    expect(left).toEqual(expect.arrayContaining(["./etc/vmmessage/manager.json", "./var/lib/vmmessage/manager"]));
    expect(left.filter((path) => !data.test(path))).toEqual([]);
  });
});

describe("the guest's package in a Debian with rpm's database, which is no RPM distribution", () => {
  let root: RpmRoot;
  let before: string[];
  const channel = "--channel=unix:/run/web1.sock";

  beforeAll(async () => {
    root = await RpmRoot.create();
    before = await root.files();
    await root.install(rpm("vmmessage-agent"));
  });

  afterAll(async () => {
    await root[Symbol.asyncDispose]();
  });

  test("agent is one of the alternatives of that name, with its manual page", async () => {
    const { debian } = root;
    expect(await debian.output("vmmessage-agent", "--version")).toBe(`agent ${release.version}\n`);
    expect(await debian.output("agent", "--version")).toBe(`agent ${release.version}\n`);
    expect(await debian.output("update-alternatives", "--query", "agent")).toMatch(/^Priority: 50$/m);
    expect(await readlink(debian.path("/etc/alternatives/agent.8.gz"))).toBe(
      "/usr/share/man/man8/vmmessage-agent.8.gz",
    );
    expect(await root.rpm("--query", "--file", "/usr/bin/agent")).toMatch(/^vmmessage-agent-/);
    await root.rpm("--verify", "vmmessage-agent");
  });

  test("nothing of it is enabled, also where no preset says no", async () => {
    for (const unit of ["vmmessage-agent", "vmmessage-bootstrap", "vmmessage-reconfigure"]) {
      expect(await isEnabled(root, `${unit}.service`), unit).toBe("disabled");
    }
  });

  test("the keys, the alternative and what was enabled are the same after an upgrade", async () => {
    const { debian } = root;
    await debian.output("systemctl", "enable", "vmmessage-bootstrap.service");
    const old = debian.start("vmmessage-agent", "run", channel);
    await vi.waitFor(() => debian.output("agent", "-p", "com.example.ready=yes"), SOON);
    await debian.stop(old);

    await root.upgrade(...(await later("vmmessage-agent")));
    expect(await root.rpm("--query", "vmmessage-agent")).toBe("vmmessage-agent-9999-1.x86_64\n");
    const upgraded = debian.start("vmmessage-agent", "run", channel);
    await untilPrinted(root, /^yes$/m, "agent", "-g", "com.example.ready");
    await debian.stop(upgraded);
    expect(await isEnabled(root, "vmmessage-bootstrap.service")).toBe("enabled");
  });

  test("erased, it leaves the other agent of that name as the alternative", async () => {
    const { debian } = root;
    await debian.write("/usr/local/bin/another-agent", "#!/bin/sh\necho another\n", 0o755);
    await debian.output(
      "update-alternatives",
      "--install",
      "/usr/bin/agent",
      "agent",
      "/usr/local/bin/another-agent",
      "10",
    );
    expect(await debian.output("agent", "--version")).toBe(`agent ${release.version}\n`);
    await root.erase("vmmessage-agent");
    expect(await debian.output("agent", "--version")).toBe("another\n");
    await debian.output("update-alternatives", "--remove", "agent", "/usr/local/bin/another-agent");
    await debian.output("rm", "/usr/local/bin/another-agent");
  });

  test("and of its own nothing but the keys and the configuration", async () => {
    const left = added(before, await root.files());
    expect(left).toContain("./var/lib/vmmessage/cache.json");
    // The socket that takes the place of the port is the test's.
    const data = /^\.\/((var\/lib|run|etc)\/vmmessage(\/.*)?|run\/web1\.sock)$/;
    expect(left.filter((path) => !data.test(path))).toEqual([]);
  });
});

describe("all packages in a Debian with rpm's database, which is no RPM distribution", () => {
  let root: RpmRoot;

  beforeAll(async () => {
    root = await hostWithVms();
    await root.install(...packageNames.map((name) => rpm(name)));
    await configureManager(root);
    root.debian.start("vmmessage-agent", "run", "--channel=unix:/run/web1.sock");
    root.debian.start("vmmessaged");
    await untilPrinted(root, /^web1 +Running +up/m, "vmmessage", "vms");
  });

  afterAll(async () => {
    await root[Symbol.asyncDispose]();
  });

  test("what the host sends with ovm_vmmessage, the guest reads with ovmd", async () => {
    const sent = await root.debian.output("ovm_vmmessage", "-v", "web1", "-k", "com.example.role", "-V", "frontend");
    expect(sent).toContain("Message sent successfully.");
    expect(await root.debian.output("ovmd", "-g", "com.example.role")).toBe("frontend\n");
  });

  test("the agent's end leaves the directories and the data that the manager has as well", async () => {
    await root.erase("vmmessage-agent");
    await root.rpm("--verify", "vmmessage", "vmmessage-manager", "vmmessage-ovmd-compat");
    expect(await root.files()).toContain("./var/lib/vmmessage/manager");
    expect(await root.debian.output("vmmessage", "vms")).toContain("web1");
  });
});

describe("what the packages' scripts ask of systemd and udev, by programs in their place that write it down", () => {
  let root: RpmRoot;
  const log = "/srv/calls";

  beforeAll(async () => {
    root = await RpmRoot.create();
    await mkdir(root.debian.path("/run/systemd/system"), { recursive: true });
    for (const program of ["systemctl", "udevadm", "systemd-sysusers", "systemd-tmpfiles"]) {
      // Nothing that they refuse may make an installation fail.
      await root.debian.write(`/usr/bin/${program}`, `#!/bin/sh\necho "${program} $*" >>${log}\nexit 1\n`, 0o755);
    }
  });

  afterAll(async () => {
    await root[Symbol.asyncDispose]();
  });

  /** The calls since the last time. */
  async function calls(): Promise<string[]> {
    const lines = await readFile(root.debian.path(log), "utf8");
    await root.debian.write(log, "");
    return lines.trim().split("\n");
  }

  test("an installation makes the units known, and lets udev start the agent where the port is there", async () => {
    await root.install(rpm("vmmessage-agent"));
    expect(await calls()).toEqual([
      "systemd-tmpfiles --create vmmessage-agent.conf",
      "systemctl daemon-reload",
      "udevadm control --reload",
      "udevadm trigger --subsystem-match=virtio-ports",
    ]);
    await root.install(rpm("vmmessage"), rpm("vmmessage-manager"));
    expect(await calls()).toEqual([
      "systemd-sysusers vmmessage-manager.conf",
      "systemctl --no-reload preset vmmessaged.service",
      "systemd-tmpfiles --create vmmessage-manager.conf",
      "systemctl daemon-reload",
    ]);
  });

  test("an upgrade restarts what runs, and never configures the machine", async () => {
    await root.upgrade(...(await later("vmmessage-agent", "vmmessage", "vmmessage-manager")));
    const asked = await calls();
    const restarts = asked.filter((call) => call.includes("restart"));
    expect(restarts.sort()).toEqual([
      "systemctl try-restart vmmessage-agent.service",
      "systemctl try-restart vmmessaged.service",
    ]);
    expect(asked.filter((call) => /bootstrap|configured\.target|preset|disable|\bstop\b/.test(call))).toEqual([]);
  });

  test("an erasure stops the daemons, and none of the applications that require a configured machine", async () => {
    await root.erase("vmmessage-agent", "vmmessage-manager", "vmmessage");
    const asked = await calls();
    expect(asked.filter((call) => call.includes(" stop ")).sort()).toEqual([
      "systemctl stop vmmessage-reconfigure.service vmmessage-agent.service",
      "systemctl stop vmmessaged.service",
    ]);
    const units = "vmmessage-agent.service vmmessage-bootstrap.service vmmessage-reconfigure.service";
    expect(asked).toContain(`systemctl --no-reload disable ${units}`);
    expect(asked).toContain("systemctl --no-reload disable vmmessaged.service");
    for (const call of ["systemctl daemon-reload", "udevadm trigger --subsystem-match=virtio-ports"]) {
      expect(asked).toContain(call);
    }
  });
});

describe("a build of .rpm packages", () => {
  /** Four packages of a few small files. */
  async function makeStage(directory: string): Promise<void> {
    for (const name of packageNames) {
      const page = join(directory, name, `usr/share/man/man8/${name}.8`);
      await mkdir(dirname(page), { recursive: true });
      await writeFile(page, `.Dd January 1, 2026\n`);
      await mkdir(join(directory, name, "usr/bin"));
      const program = architectures[name].rpm === "noarch" ? "/usr/bin/ldd" : "/usr/bin/true";
      await runCommand("install", ["-m755", program, join(directory, name, "usr/bin", name)]);
    }
    // A stage may have been made with any umask.
    await chmod(join(directory, "vmmessage", "usr", "share"), 0o700);
  }

  /** Builds in a process of its own, which `prefix` starts, and returns what sha256sum(1) says of the packages. */
  async function build(
    stageDir: string,
    outDir: string,
    prefix: string[],
    env: Record<string, string>,
  ): Promise<string> {
    const program = JSON.stringify(join(projectRoot, "packaging", "rpm", "build-rpm.ts"));
    const inputs = JSON.stringify({ stageDir, outDir, release });
    const script = `const { buildRpms } = await import(${program}); await buildRpms({ ...${inputs}, log: () => {} });`;
    const words = [...prefix, process.execPath, "--input-type=module", "--eval", script];
    await runCommand(words[0] ?? "", words.slice(1), env);
    const sums = (await readdir(outDir)).sort().map((name) => runCommand("sha256sum", [join(outDir, name)]));
    return (await Promise.all(sums)).join("").replaceAll(`${outDir}/`, "");
  }

  test("gives the same bytes to an ordinary user elsewhere, whatever the umask, the processors, the time zone and the language", async () => {
    const stages = [join(work, "stage"), join(work, "another stage")] as const;
    for (const stage of stages) await makeStage(stage);
    const here = await build(stages[0], join(work, "here"), ["sh", "-c", 'umask 022; exec "$@"', "sh"], {});

    const elsewhere = ["unshare", "--uts", "--user", "taskset", "1", "sh", "-c", 'umask 077; exec "$@"', "sh"];
    const env = { TZ: "Pacific/Auckland", LANG: "de_DE.UTF-8", LC_ALL: "", TMPDIR: await createTemporaryDirectory() };
    const there = await build(stages[1], join(work, "there"), elsewhere, env);

    expect(here.trim().split("\n")).toHaveLength(packageNames.length);
    expect(there).toBe(here);
  });
});
