import { expect, test } from "vitest";
import { fileList, type StagedEntry } from "../../../packaging/rpm/file-list.ts";

function linesOf(...entries: [path: string, kind?: StagedEntry["kind"]][]): string[] {
  return fileList(entries.map(([path, kind = "file"]) => ({ path, kind })));
}

test("directories that every system has are not the package's, others are, whatever rights the umask gave them", () => {
  const directories = ["/usr", "/usr/bin", "/usr/lib/systemd/system", "/usr/lib/vmmessage", "/usr/share/doc/vmmessage"];
  expect(linesOf(...directories.map((path): [string, "directory"] => [path, "directory"]))).toEqual([
    "%dir %attr(0755, root, root) /usr/lib/vmmessage",
    "%dir %attr(0755, root, root) /usr/share/doc/vmmessage",
  ]);
});

test("directories for an administrator's files are the package's, empty as they are", () => {
  expect(linesOf(["/etc", "directory"], ["/etc/vmmessage", "directory"])).toEqual([
    "%dir %attr(0755, root, root) /etc/vmmessage",
  ]);
});

test("executables, units and links are listed as they are, in an order that is not the disk's", () => {
  const paths = ["/usr/sbin/vmmessaged", "/usr/lib/systemd/system/vmmessaged.service", "/usr/bin/vmmessage"];
  expect(linesOf([paths[0] ?? "", "link"], [paths[1] ?? ""], [paths[2] ?? ""])).toEqual(paths.toReversed());
});

test("a manual page is listed as it will be called once it is compressed", () => {
  expect(linesOf(["/usr/share/man/man8/vmmessaged.8"])).toEqual(["/usr/share/man/man8/vmmessaged.8.gz"]);
});

test("licences are marked, so that they are installed where documents are not wanted", () => {
  expect(
    linesOf(["/usr/share/doc/vmmessage/third-party-licences.txt"], ["/usr/share/doc/vmmessage/vmmessage.md"]),
  ).toEqual(["%license /usr/share/doc/vmmessage/third-party-licences.txt", "/usr/share/doc/vmmessage/vmmessage.md"]);
});

test("what an administrator changes in /etc is not replaced", () => {
  expect(linesOf(["/etc/vmmessage/manager.json"])).toEqual(["%config(noreplace) /etc/vmmessage/manager.json"]);
});

test.each([
  "/usr/bin/a b",
  "/usr/bin/a*",
  "/usr/bin/%{name}",
  '/usr/bin/"a"',
  "/usr/lib/systemd/system/a\\x2db.service",
])("the name %s, which rpm would take for something else, is refused", (path) => {
  expect(() => linesOf([path])).toThrow(`rpm's file lists cannot have the name ${JSON.stringify(path)}`);
});
