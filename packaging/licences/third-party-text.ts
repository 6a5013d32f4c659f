// What the licences of others want to be passed on with a program: one text, to be read by people.
import type { RuntimePart } from "./node-runtime.ts";
import type { NpmPackage } from "./npm-packages.ts";
import type { ProgramContents } from "./program-contents.ts";

const RULER = "=".repeat(80);

/** Begins with a list of all packages; their licences follow in its order, and Node's with those of its parts at the end. */
export function thirdPartyText({ name, version, runtime, packages }: ProgramContents): string {
  const node = { ...runtime.package, name: "node" };
  const list = [
    ...[...packages, node].map((item) => `  ${line(item)}`),
    ...runtime.parts.map((part) => `    in node: ${line(part)}`),
  ];
  return [
    `${name} ${version} contains software of others, under these licences:`,
    ...["", ...list, ""],
    ...[...packages, node].map(section),
  ].join("\n");
}

function line({ name, version, licence }: NpmPackage | RuntimePart): string {
  return `${name} ${version}: ${licence}`;
}

function section(subject: NpmPackage): string {
  const texts = subject.licenceTexts.map((text) => `${text.replaceAll("\r\n", "\n").trim()}\n`);
  return [RULER, line(subject), RULER, "", texts.join("\n")].join("\n");
}
