import { describe, expect, test } from "vitest";
import { type InstalledDocument, withInstalledLinks } from "../../../packaging/document-links.ts";

const places: Readonly<Record<string, readonly string[]>> = {
  "docs/vmmessage.md": ["/usr/share/doc/vmmessage/vmmessage.md"],
  "docs/protocol.md": ["/usr/share/doc/vmmessage/protocol.md", "/usr/share/doc/vmmessage-agent/protocol.md"],
  "docs/bootstrap.md": ["/usr/share/doc/vmmessage-agent/bootstrap.md"],
  "examples/site.yaml": ["/usr/share/doc/vmmessage-agent/examples/site.yaml"],
};

const agent: InstalledDocument = { source: "docs/agent.md", path: "/usr/share/doc/vmmessage-agent/agent.md" };
const guide: InstalledDocument = {
  source: "docs/guides/moving.md",
  path: "/usr/share/doc/vmmessage-agent/guides/moving.md",
};
const manager: InstalledDocument = { source: "docs/manager.md", path: "/usr/share/doc/vmmessage-manager/manager.md" };

function installed(markdown: string, document = agent): string {
  return withInstalledLinks(markdown, document, (source) => places[source] ?? []);
}

describe("a link", () => {
  test.each([
    ["to a document beside it", agent, "[a](bootstrap.md)", "[a](bootstrap.md)"],
    ["to one above it", guide, "[a](../bootstrap.md#the-commit)", "[a](../bootstrap.md#the-commit)"],
    ["to what lies elsewhere in the project", agent, "[a](../examples/site.yaml)", "[a](examples/site.yaml)"],
    ["to another package", guide, "[a](../vmmessage.md)", "[a](/usr/share/doc/vmmessage/vmmessage.md)"],
    ["with a place in it", agent, "[a](vmmessage.md#exit)", "[a](/usr/share/doc/vmmessage/vmmessage.md#exit)"],
    ["to what its own package has as well", agent, "[a](protocol.md)", "[a](protocol.md)"],
    ["to what two others have", manager, "[a](protocol.md)", "[a](/usr/share/doc/vmmessage/protocol.md)"],
    ["to what nobody installs", agent, "see [decision `19`](decisions/0019.md#x).", "see decision `19`."],
    ["over the end of a line", guide, "[first\nboot](../none.md)", "first\nboot"],
  ])("%s", (_, document, markdown, expected) => {
    expect(installed(markdown, document)).toBe(expected);
  });

  test.each(["[a](https://www.example.org/none.md)", "[a](mailto:a@b.example)", "[a](#in-short)"])(
    "%s is right anywhere",
    (link) => {
      expect(installed(link)).toBe(link);
    },
  );

  test("is none in code", () => {
    for (const code of [
      "`[a](none.md)`",
      "``a` [a](none.md)``",
      "```sh title=a\n[a](none.md)\n```",
      "  ~~~\n[a](none.md)\n  ~~~",
    ]) {
      expect(installed(`${code}\n\n[b](none.md)`)).toBe(`${code}\n\nb`);
    }
  });

  test("is one after a quote that code does not end", () => {
    expect(installed("a ` alone\n\n[b](none.md) and `c`")).toBe("a ` alone\n\nb and `c`");
  });
});
