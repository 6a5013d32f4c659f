// Links between our documents: they lie together in the project, and each package installs some of them.
import { posix } from "node:path";

export interface InstalledDocument {
  /** In the project, e.g. "docs/agent.md". */
  source: string;
  /** Where it is installed, e.g. "/usr/share/doc/vmmessage-agent/agent.md". */
  path: string;
}

/** Code, which is left alone whatever it looks like, and links. */
const codeOrLink = new RegExp(
  [
    "^ *(?<fence>`{3,}|~{3,})[^]*?^ *\\k<fence>[`~]* *$",
    "(?<ticks>`+)(?!`)(?:(?!\\n\\n)[^])*?(?<!`)\\k<ticks>(?!`)",
    "\\[(?<words>[^[\\]]+)\\]\\((?<target>[^()\\s]+)\\)",
  ].join("|"),
  "gm",
);

/** Web addresses, and places in the same document. */
const rightAnywhere = /^([a-z][a-z\d+.-]*:|#)/i;

/**
 * Returns the document with links that are right where it is installed: relative ones in its own package, absolute ones to
 * other packages, and the words alone where no package has what is linked.
 *
 * @param placesOf the paths where a file of the project is installed, the best one first
 */
export function withInstalledLinks(
  markdown: string,
  document: InstalledDocument,
  placesOf: (source: string) => readonly string[],
): string {
  return markdown.replace(codeOrLink, (...match) => {
    const [whole] = match;
    const { words, target } = match.at(-1) as { words?: string; target?: string };
    if (words === undefined || target === undefined || rightAnywhere.test(target)) return whole;
    const [path = "", fragment] = target.split("#");
    const places = placesOf(posix.join(posix.dirname(document.source), path));
    const place = placeFor(document, places);
    if (place === undefined) return words;
    return `[${words}](${place}${fragment === undefined ? "" : `#${fragment}`})`;
  });
}

function placeFor({ path }: InstalledDocument, places: readonly string[]): string | undefined {
  const own = places.find((place) => place.startsWith(`${documentDirectory(path)}/`));
  return own === undefined ? places[0] : posix.relative(posix.dirname(path), own);
}

/** "/usr/share/doc/PACKAGE". */
function documentDirectory(path: string): string {
  return path.split("/").slice(0, 5).join("/");
}
