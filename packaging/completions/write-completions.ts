/** Completions for bash, a file for each name that a program is called by. They need bash 4.4, and no bash-completion. */
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command as Program } from "commander";
import { programs } from "../manual/programs.ts";
import { commandTables } from "./command-tables.ts";
import { agentKinds, hostKinds, type KindTable, managerKinds } from "./value-kinds.ts";

interface Completion {
  program: Program;
  kinds: KindTable;
  /** The file with what only the machine knows. */
  values?: "agent-values" | "host-values";
}

const agent = (): Completion => ({ program: programs.agent(), kinds: agentKinds, values: "agent-values" });
const host = (): Completion => ({ program: programs.vmmessage(), kinds: hostKinds, values: "host-values" });

const completions = {
  agent,
  "vmmessage-agent": agent,
  ovmd: () => ({ ...agent(), program: programs.ovmd() }),
  "ovm-template-config": () => ({ ...agent(), program: programs["ovm-template-config"]() }),
  vmmessage: host,
  ovm_vmmessage: host,
  vmmessaged: () => ({ program: programs.vmmessaged(), kinds: managerKinds }),
} satisfies Record<string, () => Completion>;

/** The text of each file, by its name, which is the command's. */
export async function bashCompletions(): Promise<Map<string, string>> {
  const files = Object.entries<() => Completion>(completions).map(async ([command, completion]) => {
    return [command, await bashCompletion(command, completion())] as const;
  });
  return new Map(await Promise.all(files));
}

/** Writes them to `outDir`, named as bash-completion looks for them when a command is completed for the first time. */
export async function writeCompletions({ outDir }: { outDir: string }): Promise<void> {
  await mkdir(outDir, { recursive: true });
  for (const [command, text] of await bashCompletions()) {
    const path = join(outDir, command);
    await writeFile(path, text);
    await chmod(path, 0o644);
  }
}

async function bashCompletion(command: string, { program, kinds, values }: Completion): Promise<string> {
  const name = `_vmmessage_${command.replaceAll("-", "_")}`;
  const parts = [
    `# Completions of ${command} for bash, from the same definitions as its --help.\n# shellcheck shell=bash\n`,
    await readFile(join(import.meta.dirname, "engine.bash"), "utf8"),
    values === undefined ? NO_VALUES : await readFile(join(import.meta.dirname, `${values}.bash`), "utf8"),
    commandTables(program, kinds),
    `complete -F __PROGRAM ${command}\n`,
  ];
  return parts.join("\n").replaceAll("__PROGRAM", name);
}

const NO_VALUES = "# Nothing that only this machine knows is completed.\n__PROGRAM_list() { :; }\n";
