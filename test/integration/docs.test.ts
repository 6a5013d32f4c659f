/** Every transcript in the README and the guides is played against a real agent and must read as it is printed there. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { describe, expect, test } from "vitest";
import { readConfig } from "../../agent/config.ts";
import packageJson from "../../package.json" with { type: "json" };
import { AgentUnderTest } from "./support/agents.ts";

const root = join(import.meta.dirname, "..", "..");
const documents = ["README.md", "docs/agent.md", "docs/vmmessage.md"];

interface Step {
  command: string;
  shown: string;
}

function blocksOf(document: string, language: string): string[] {
  const text = readFileSync(join(root, document), "utf8");
  return [...text.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, "g"))].map(([, block = ""]) => block);
}

function stepsOf(document: string): Step[] {
  return blocksOf(document, "console").flatMap((block) => {
    return block
      .split(/^(?:host|guest)# /m)
      .slice(1)
      .map((step) => {
        const [command = "", ...shown] = step.split("\n");
        return { command, shown: shown.join("\n") };
      });
  });
}

/** Runs a line of shell in which `agent`, `vmmessage` and the run directory are the agent's under test. */
async function play(agent: AgentUnderTest, command: string): Promise<string> {
  const bin = join(agent.directory, "bin");
  await mkdir(bin, { recursive: true });
  await writeProgram(join(bin, "agent"), `"${join(root, "dist", "agent.js")}" --run-dir "${agent.runDirectory}"`);
  await writeProgram(join(bin, "vmmessage"), `"${join(root, "dist", "vmmessage.js")}" --socket "${agent.channelPath}"`);
  const line = command.replaceAll("/run/vmmessage", agent.runDirectory);
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}` };
  return new Promise((resolve) => {
    execFile("sh", ["-c", `${line} 2>&1`.replace(/ \|\| (.*) 2>&1$/, " 2>&1 || $1")], { env }, (_error, stdout) => {
      resolve(stdout);
    });
  });
}

async function writeProgram(path: string, command: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\nexec "${process.execPath}" ${command} "$@"\n`);
  await chmod(path, 0o755);
}

/** A file without a newline at its end is shown with one, and ages are what they are. */
function comparable(output: string): string {
  return output.trimEnd().replace(/Key set .* ago\./, "Key set N ago.");
}

describe.each(documents)("%s", (document) => {
  test("shows what the commands in it really print", async () => {
    await using agent = await AgentUnderTest.start();
    const steps = stepsOf(document);
    expect(steps.length).toBeGreaterThan(3);
    for (const { command, shown } of steps) {
      expect(`${command}\n${comparable(await play(agent, command))}`).toBe(`${command}\n${comparable(shown)}`);
    }
  });

  test("names scripts of npm that exist", () => {
    const text = readFileSync(join(root, document), "utf8");
    const named = [...text.matchAll(/npm run ([\w:]+)/g)].map(([, script = ""]) => script);
    expect(named.filter((script) => !Object.hasOwn(packageJson.scripts, script))).toEqual([]);
  });
});

test("the configuration in docs/agent.md is one", async () => {
  await using agent = await AgentUnderTest.start();
  const [example = ""] = blocksOf("docs/agent.md", "json");
  const file = join(agent.directory, "example.json");
  await writeFile(file, example);
  expect(readConfig(file).sockets[0]?.prefixes).toEqual(["com.example."]);
});
