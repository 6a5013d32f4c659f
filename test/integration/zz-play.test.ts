import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "vitest";
import { DocsLab, type Prompt } from "./docs-lab.ts";

const MARKS =
  /whsec_[A-Za-z0-9+/]{43}=|\b[0-9a-f]{16}:\d+\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|vmm_[0-9a-f]{16}_[A-Za-z0-9_-]{43}|\b(?:[0-9a-f]{32}){1,2}\b|\b[0-9a-f]{16}\b(?!-)/g;
test("play", { timeout: 220_000 }, async () => {
  await using lab = await DocsLab.open({ hasManager: process.env["HAS_MANAGER"] === "1", hasServers: process.env["NO_SERVERS"] !== "1" });
  const document = process.env["DOC"] ?? "docs/events.md";
  const marks: Record<string, string> = JSON.parse(process.env["MARKS"] ?? "{}");
  let last: string[] = [];
  const out: string[] = [];
  const blocks = [...readFileSync(document, "utf8").matchAll(/^```(\w+)(?: title=(\S+))?\n([^]*?)^```$/gm)];
  try {
    for (const [, language, title, text = ""] of blocks) {
      const sub = (s: string) => s.replace(/\{\{(\w+)\}\}/g, (_, k: string) => marks[k] ?? "?");
      if (title !== undefined) await lab.place(title, sub(text));
      if (language !== "console") continue;
      out.push("```console");
      const step = /^(host# |guest# |db1# |desk\$ )((?:.*\\\n)*.*)\n((?:(?!(?:host|guest|db1)# |desk\$ ).*\n)*)/gm;
      for (const [, prompt = "", command = ""] of text.matchAll(step)) {
        appendFileSync("/tmp/progress", `${new Date().toISOString()} ${command}\n`);
        const printed = await lab.type(prompt as Prompt, sub(command));
        out.push(`${prompt}${command}\n${printed.trimEnd()}`);
        last = printed.match(MARKS) ?? [];
        if (command.includes("subscription add roles")) { marks["sub"] = last[0] ?? ""; marks["secret"] = last.find((m) => m.startsWith("whsec")) ?? ""; }
        if (command.includes("--limit 1 --json")) { marks["cursor"] = last.find((m) => /:\d+$/.test(m)) ?? ""; }
        if (command.includes("sink deliveries")) marks["event"] = last[0] ?? "";
      }
      out.push("```\n");
    }
  } finally {
    writeFileSync("/tmp/played.md", out.join("\n"));
    writeFileSync("/tmp/marks.json", JSON.stringify(marks));

  }
});
