// Packages that name their licence and were published without its text.
import type { PermissiveLicence } from "./permissive.ts";

/** Whose work a package is, and what we go by. */
interface Unaccompanied {
  licence: keyof typeof texts;
  holder: string;
  reason: string;
}

/** By name. Each was looked for in the package and in its repository. */
const unaccompanied: Readonly<Record<string, Unaccompanied>> = {
  "@nodable/entities": {
    licence: "MIT",
    holder: "Amit Gupta",
    reason: "its package.json and its README say MIT, and package.json names the author",
  },
  "abstract-logging": {
    licence: "MIT",
    holder: "James Sumners",
    reason: "its package.json says MIT and names the author, and its Readme.md refers to his copy of the text",
  },
};

/** From spdx.org/licenses, without the title and the line of the copyright. */
const texts = {
  MIT: `\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`,
} as const;

/** Throws when the package is not known here, or known under another licence. */
export function textOfUnaccompanied(name: string, licence: PermissiveLicence): string {
  const known = unaccompanied[name];
  if (known?.licence !== licence) {
    throw new Error(
      `${name} has no text of its licence, ${licence}, among its files; ` +
        "look for it in its repository, and see packaging/licences/texts-not-published.ts",
    );
  }
  const { holder, reason } = known;
  return `(The package comes without the text of its licence; ${reason}.)\n\nCopyright (c) ${holder}\n\n${texts[licence]}`;
}
