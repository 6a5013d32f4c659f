/** What the packages take on the way, and on a machine. */
import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { runTool } from "../../../scripts/run-tool.ts";
import type { Figure } from "../figure.ts";

/** What a package says of itself. */
interface Described {
  name: string;
  installedBytes: number;
}

/** @param packages paths of .deb and .rpm files */
export async function sizeFigures(packages: readonly string[]): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const path of packages) {
    const format = extname(path).slice(1);
    const { name, installedBytes } = await (format === "deb" ? describeDeb(path) : describeRpm(path));
    const prefix = `packages.${name}.${format}`;
    figures.push({ name: `${prefix}_bytes`, unit: "bytes", ours: (await stat(path)).size });
    figures.push({ name: `${prefix}_installed_bytes`, unit: "bytes", ours: installedBytes });
  }
  return figures;
}

/** Debian Policy 5.6.20: Installed-Size is in KiB, and an estimate. */
async function describeDeb(path: string): Promise<Described> {
  const said = await runTool("dpkg-deb", ["--show", "--showformat=${Package} ${Installed-Size}", path]);
  const [name = "", kib] = said.split(" ");
  return { name, installedBytes: Number(kib) * 1024 };
}

async function describeRpm(path: string): Promise<Described> {
  const said = await runTool("rpm", ["--query", "--package", "--queryformat", "%{NAME} %{SIZE}", path]);
  const [name = "", bytes] = said.split(" ");
  return { name, installedBytes: Number(bytes) };
}
