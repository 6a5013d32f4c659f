// Packages of npm's as they lie in node_modules.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod/mini";
import { projectRoot } from "../release.ts";
import { type PermissiveLicence, permissive } from "./permissive.ts";
import { textOfUnaccompanied } from "./texts-not-published.ts";

export interface NpmPackage {
  name: string;
  version: string;
  /** Its package URL (ECMA-427): "pkg:npm/%40scope/name@1.2.3". */
  purl: string;
  licence: PermissiveLicence;
  /** What its licence wants to be passed on; never empty. */
  licenceTexts: readonly string[];
  /** Of the archive that npm unpacked, in hexadecimal. */
  sha512: string;
}

const LockFile = z.object({ packages: z.record(z.string(), z.object({ integrity: z.optional(z.string()) })) });

const PackageJson = z.object({
  name: z.string(),
  version: z.string(),
  license: z.optional(z.string()),
  /** npm's older form (docs.npmjs.com, package.json, "license"). */
  licenses: z.optional(z.array(z.object({ type: z.string() }))),
});
type PackageJson = z.infer<typeof PackageJson>;

const LICENCE_FILE = /^(un)?licen[cs]e|^copying|^notice/i;
/** One hash of a "Subresource Integrity" string, in base64. */
const SHA512 = /\bsha512-(\S+)/;

export class InstalledPackages {
  readonly #root: string;
  readonly #integrities: ReadonlyMap<string, string | undefined>;

  private constructor(root: string, lockFile: z.infer<typeof LockFile>) {
    this.#root = root;
    const entries = Object.entries(lockFile.packages);
    this.#integrities = new Map(entries.map(([directory, { integrity }]) => [directory, integrity]));
  }

  /** Those below `root`, which has a package-lock.json. */
  static async open(root = projectRoot): Promise<InstalledPackages> {
    return new InstalledPackages(root, LockFile.parse(await readJson(join(root, "package-lock.json"))));
  }

  /**
   * Reads the package in a directory such as "node_modules/yaml". Throws when it has no permissive licence, no text of it,
   * or no hash.
   */
  async read(directory: string): Promise<NpmPackage> {
    const packageJson = PackageJson.parse(await readJson(join(this.#root, directory, "package.json")));
    const { name, version } = packageJson;
    const licence = permissive(namedLicence(packageJson), `${name} ${version}`);
    const texts = await readLicenceTexts(join(this.#root, directory));
    return {
      name,
      version,
      purl: npmPurl(name, version),
      licence,
      licenceTexts: texts.length > 0 ? texts : [textOfUnaccompanied(name, licence)],
      sha512: this.#sha512(directory),
    };
  }

  #sha512(directory: string): string {
    const base64 = SHA512.exec(this.#integrities.get(directory) ?? "")?.[1];
    if (base64 === undefined) throw new Error(`package-lock.json has no sha512 of ${directory}; is it from npm?`);
    return Buffer.from(base64, "base64").toString("hex");
  }
}

export function npmPurl(name: string, version: string): string {
  return `pkg:npm/${name.replace("@", "%40")}@${encodeURIComponent(version)}`;
}

/** Undefined also where there are several to choose from. */
function namedLicence({ license, licenses = [] }: PackageJson): string | undefined {
  return license ?? (licenses.length === 1 ? licenses[0]?.type : undefined);
}

async function readLicenceTexts(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isFile() && LICENCE_FILE.test(entry.name)).map(({ name }) => name);
  return Promise.all(names.toSorted().map((name) => readFile(join(directory, name), "utf8")));
}

async function readJson(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, "utf8"));
}
