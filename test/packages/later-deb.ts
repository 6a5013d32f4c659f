// The next release of a package, as far as dpkg can tell.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCommand } from "../vm/harness/command.ts";

/** Whatever is released next is less. */
export const laterVersion = "9999";

/** Makes `target` of a .deb: what is in it, as version 9999 and for other packages of ours of that version. Quickly: not compressed. */
export async function laterDeb(deb: string, target: string): Promise<void> {
  const tree = await mkdtemp(join(tmpdir(), "vmmessage-later-"));
  try {
    await runCommand("dpkg-deb", ["--raw-extract", deb, tree]);
    const control = join(tree, "DEBIAN", "control");
    const text = await readFile(control, "utf8");
    const [, version = ""] = /^Version: (.*)$/m.exec(text) ?? [];
    const ours = new RegExp(`^(Version: |Depends: .*vmmessage \\(= )${RegExp.escape(version)}`, "gm");
    await writeFile(control, text.replace(ours, `$1${laterVersion}`));
    await runCommand("dpkg-deb", ["--root-owner-group", "-Znone", "--build", tree, target]);
  } finally {
    await rm(tree, { recursive: true, force: true });
  }
}
