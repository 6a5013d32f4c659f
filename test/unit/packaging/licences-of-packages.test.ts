// Which packages may not be shipped.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { partsOfNode } from "../../../packaging/licences/node-runtime.ts";
import { InstalledPackages } from "../../../packaging/licences/npm-packages.ts";

const sha512 = "ab".repeat(64);
const integrity = `sha512-${Buffer.from(sha512, "hex").toString("base64")}`;

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "vmm-npm-"));
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

interface Installed {
  packageJson?: object;
  files?: Record<string, string>;
  locked?: object;
}

/** A project with one package, which is in order but for what the test says. */
async function install({
  packageJson = {},
  files = { LICENSE: "Do as you like." },
  locked = { integrity },
}: Installed) {
  const directory = join(root, "node_modules", "example");
  await mkdir(directory, { recursive: true });
  const description = { name: "example", version: "1.0.0", license: "MIT", ...packageJson };
  await writeFile(join(directory, "package.json"), JSON.stringify(description));
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  const lockFile = { packages: { "": {}, "node_modules/example": locked } };
  await writeFile(join(root, "package-lock.json"), JSON.stringify(lockFile));
  return (await InstalledPackages.open(root)).read("node_modules/example");
}

describe("a package of npm's", () => {
  it("is known by its licence, all its licence's texts and the hash of its archive", async () => {
    const files = { "LICENSE-MIT": "Do as you like.", "NOTICE.md": "We wrote it.", "README.md": "Read this." };
    await expect(install({ files })).resolves.toEqual({
      name: "example",
      version: "1.0.0",
      purl: "pkg:npm/example@1.0.0",
      licence: "MIT",
      licenceTexts: ["Do as you like.", "We wrote it."],
      sha512,
    });
  });

  it("may name its licence in npm's older form", async () => {
    const packageJson = { license: undefined, licenses: [{ type: "Apache-2.0" }] };
    await expect(install({ packageJson })).resolves.toMatchObject({ licence: "Apache-2.0" });
  });

  it.each([
    ["under a licence that asks for more", { packageJson: { license: "GPL-3.0-only" } }, 'is under "GPL-3.0-only"'],
    [
      "that leaves the choice of a licence",
      { packageJson: { license: "(MIT OR GPL-2.0-only)" } },
      "(MIT OR GPL-2.0-only)",
    ],
    ["without a licence", { packageJson: { license: undefined } }, "example 1.0.0 names no licence"],
    ["without its licence's text", { files: { "README.md": "MIT" } }, "example has no text of its licence, MIT"],
    ["without a hash", { locked: {} }, "package-lock.json has no sha512 of node_modules/example"],
    ["with an old hash", { locked: { integrity: "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=" } }, "no sha512"],
  ])("%s is not shipped", async (_, installed, message) => {
    await expect(install(installed)).rejects.toThrow(message);
  });

  it("is named with its scope", async () => {
    const packageJson = { name: "@scope/example", version: "1.0.0+build" };
    await expect(install({ packageJson })).resolves.toMatchObject({ purl: "pkg:npm/%40scope/example@1.0.0%2Bbuild" });
  });
});

describe("the parts of Node", () => {
  it("are those that process.versions has a version of", () => {
    expect(partsOfNode({ node: "24.0.0", modules: "137", uv: "1.52.1", ngtcp2: "" })).toEqual([
      { name: "libuv", version: "1.52.1", licence: "MIT", cpe: "cpe:2.3:a:libuv:libuv:1.52.1:*:*:*:*:*:*:*" },
    ]);
  });

  it("are known to the National Vulnerability Database without the number of Node's patches", () => {
    const [v8] = partsOfNode({ v8: "13.6.233.17-node.53" });
    expect(v8).toMatchObject({
      version: "13.6.233.17-node.53",
      cpe: expect.stringContaining(":v8:13.6.233.17:") as string,
    });
  });

  it("must all be known to us", () => {
    expect(() => partsOfNode({ node: "26.0.0", quiche: "1.0" })).toThrow('Node has a part "quiche" 1.0');
  });
});
