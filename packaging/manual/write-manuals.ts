/** The manual pages of all packages. */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as texts from "./page-texts.ts";
import { namePage, type PageRelease, programPage } from "./program-page.ts";
import { programs } from "./programs.ts";

/** The source of each page in mdoc(7), by the name of its file: `vmmessage-agent.8`. */
export function manuals(release: PageRelease): Map<string, string> {
  const { agentText, hostText, managerText, ovmdText, ovmVmmessageText, templateConfigText } = texts;
  const pages = [
    { text: agentText, source: programPage(programs.agent(), agentText, release) },
    { text: hostText, source: programPage(programs.vmmessage(), hostText, release) },
    { text: managerText, source: programPage(programs.vmmessaged(), managerText, release) },
    { text: ovmdText, source: programPage(programs.ovmd(), ovmdText, release) },
    { text: templateConfigText, source: programPage(programs["ovm-template-config"](), templateConfigText, release) },
    { text: ovmVmmessageText, source: namePage(ovmVmmessageText, texts.OVM_VMMESSAGE_USAGE, release) },
  ];
  return new Map(pages.map(({ text, source }) => [`${text.name}.${text.section}`, source]));
}

/** Writes them to `outDir`, uncompressed. */
export async function writeManuals({ outDir, release }: { outDir: string; release: PageRelease }): Promise<void> {
  await mkdir(outDir, { recursive: true });
  for (const [file, source] of manuals(release)) {
    const path = join(outDir, file);
    await writeFile(path, source);
    await chmod(path, 0o644);
  }
}
