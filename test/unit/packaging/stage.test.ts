/** The trees that packages are made of. What is built lies there as empty files. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type PackageName, packageNames } from "../../../packaging/release.ts";
import { stagePackages } from "../../../packaging/stage.ts";

const built = [
  ...["agent", "vmmessage", "vmmessage-agent", "vmmessaged", "vmmessaged-store.js"],
  ...["ovmd", "ovm_vmmessage", "ovm-template-config"],
  ...["vmmessage-agent.8", "vmmessage.1", "vmmessaged.8", "ovmd.8", "ovm_vmmessage.1", "ovm-template-config.8"],
  ...["vmmessage-agent", "vmmessage"].flatMap((name) => [`${name}.cdx.json`, `${name}.third-party-licences.txt`]),
];

let work: string;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "vmm-stage-"));
  const inputs = join(work, "inputs");
  await mkdir(inputs);
  for (const name of built) await writeFile(join(inputs, name), "");
  const folders = { bundleDir: inputs, executableDir: inputs, manualDir: inputs, completionDir: inputs };
  await stagePackages({ ...folders, licenceDir: inputs, outDir: join(work, "stage") });
});

afterAll(async () => {
  await rm(work, { recursive: true });
});

async function pathsOf(name: PackageName, kind: "directory" | "file" = "file"): Promise<string[]> {
  const tree = join(work, "stage", name);
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  const wanted = entries.filter((entry) => entry.isDirectory() === (kind === "directory"));
  return wanted.map((entry) => join(entry.parentPath, entry.name).slice(tree.length)).sort();
}

test.each([
  ["vmmessage-agent", ["/etc/template.d", "/etc/template.d/scripts", "/etc/vmmessage", "/etc/vmmessage/template.d"]],
  ["vmmessage", ["/etc/vmmessage"]],
  ["vmmessage-manager", ["/etc/vmmessage"]],
  ["vmmessage-ovmd-compat", []],
] as const)("%s has the directories that its configuration comes into, and nothing in them", async (name, expected) => {
  const directories = await pathsOf(name, "directory");
  expect(directories.filter((path) => path.startsWith("/etc/"))).toEqual(expected);
  expect((await pathsOf(name)).filter((path) => path.startsWith("/etc/"))).toEqual([]);
});

describe("the documents", () => {
  /** The targets of a document's links, found by other means than those that have written them. */
  function targetsIn(markdown: string): string[] {
    const text = markdown.replace(/^ *```[^]*?^ *```$/gm, "").replace(/`[^`]*`/g, "");
    return [...text.matchAll(/\]\(([^)]*)\)|^\[[^\]]+\]: *(\S+)/gm)].map(([, inline, below]) => inline ?? below ?? "");
  }

  /** Those that lead nowhere: relative ones outside of the package too, since the other one may not be there. */
  async function brokenLinks(name: PackageName, path: string, all: ReadonlySet<string>): Promise<string[]> {
    const own = `/usr/share/doc/${name}/`;
    const targets = targetsIn(await readFile(join(work, "stage", name, path), "utf8"));
    return targets.filter((target) => {
      if (/^(https?:|#)/.test(target)) return false;
      const [place = ""] = target.split("#");
      if (place.startsWith("/")) return place.startsWith(own) || !all.has(place);
      const beside = posix.join(posix.dirname(path), place);
      return !beside.startsWith(own) || !all.has(beside);
    });
  }

  test("have links to files of our packages only: relative ones in the same package, absolute ones to others", async () => {
    const all = new Set((await Promise.all(packageNames.map((name) => pathsOf(name)))).flat());
    const broken: string[] = [];
    for (const name of packageNames) {
      for (const path of (await pathsOf(name)).filter((path) => path.endsWith(".md"))) {
        broken.push(...(await brokenLinks(name, path, all)).map((target) => `${path}: ${target}`));
      }
    }
    expect(broken).toEqual([]);
  });

  test("keep their links where what they lead to is installed", async () => {
    const targets = async (path: string) => targetsIn(await readFile(join(work, "stage", path), "utf8")).join("\n");
    const moving = await targets("vmmessage-agent/usr/share/doc/vmmessage-agent/guides/moving-from-oracle-vm.md");
    expect(moving).toMatch(/^\.\.\/bootstrap\.md#/m);
    expect(moving).toMatch(/^\/usr\/share\/doc\/vmmessage-manager\/manager\.md#/m);
    const zone = await targets("vmmessage/usr/share/doc/vmmessage/guides/dns.md");
    expect(zone).toContain("/usr/share/doc/vmmessage-manager/examples/dns/update-dns.py");
  });

  test("that both sides need are with both", async () => {
    for (const name of ["vmmessage-agent", "vmmessage"] as const) {
      const documents = ["troubleshooting.md", "guides/moving-from-oracle-vm.md", "protocol.md"];
      const expected = documents.map((document) => `/usr/share/doc/${name}/${document}`);
      expect(await pathsOf(name)).toEqual(expect.arrayContaining(expected));
    }
  });
});
