import { join } from "node:path";
import { cachedFile } from "../../../../scripts/cached-file.ts";
import { runCommand } from "../command.ts";
import { guestSources } from "./paths.ts";
import { hashTree } from "./tree.ts";

const flags = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror"];

/** Compiles guest/NAME.c into a program that needs no libraries. */
export async function compileStatic(name: string): Promise<string> {
  const source = join(guestSources, `${name}.c`);
  const hash = await hashTree(new Map([["source", { type: "copy", from: source }]]), flags.join(" "));
  return cachedFile(`${name}-${hash}`, async (target) => {
    await runCommand("gcc", [...flags, source, "-o", target]);
  });
}
