import { expect, test } from "vitest";
import { debianChangelog, maintainerOf } from "../../../packaging/deb/changelog.ts";

const release = { version: "0.2.0-rc.1", packageVersion: "0.2.0~rc.1", sourceDateEpoch: 1_795_000_000 };

test("Debian's changelog has the packages' version, and the time of the commit in UTC", () => {
  expect(debianChangelog(release, "A Maintainer <a@b.example>").split("\n")).toEqual([
    "vmmessage (0.2.0~rc.1) unstable; urgency=medium",
    "",
    "  * What is new in this release: CHANGELOG.md, in the same directory.",
    "",
    " -- A Maintainer <a@b.example>  Wed, 18 Nov 2026 11:06:40 +0000",
    "",
  ]);
});

test("its maintainer is the one of debian/control", () => {
  expect(maintainerOf("Source: x\nMaintainer: A Maintainer <a@b.example>\nSection: admin\n")).toBe(
    "A Maintainer <a@b.example>",
  );
});

test("a debian/control without a maintainer is an error that names the field", () => {
  expect(() => maintainerOf("Source: x\n")).toThrow("no field Maintainer");
});
