// What debian/changelog says of a release, in the form of Debian Policy's section 4.4.
import type { Release } from "../release.ts";

/** Its version is the packages', and its time the one that dpkg-buildpackage gives to everything in them. */
export function debianChangelog({ packageVersion, sourceDateEpoch }: Release, maintainer: string): string {
  return [
    `vmmessage (${packageVersion}) unstable; urgency=medium`,
    "",
    "  * What is new in this release: CHANGELOG.md, in the same directory.",
    "",
    ` -- ${maintainer}  ${mailDate(sourceDateEpoch)}`,
    "",
  ].join("\n");
}

/** The value of the field `Maintainer` in the text of a debian/control. Throws when there is none. */
export function maintainerOf(control: string): string {
  const maintainer = /^Maintainer: (.+)$/m.exec(control)?.[1];
  if (maintainer === undefined) throw new Error("debian/control has no field Maintainer; see Debian Policy, 5.6.2");
  return maintainer;
}

/** As RFC 5322, section 3.3, has it, in UTC. The "GMT" of Date is the obsolete form of it. */
function mailDate(secondsSince1970: number): string {
  return new Date(secondsSince1970 * 1000).toUTCString().replace("GMT", "+0000");
}
