// What the spec's %files sections read: the entries of a staged tree, with what rpm has to know of each.

/** A file, directory or symbolic link below a package's tree. */
export interface StagedEntry {
  /** As it will be installed, e.g. "/usr/bin/vmmessage". */
  path: string;
  kind: "directory" | "file" | "link";
}

/** Directories that every system has, from its packages filesystem, systemd and man-db. Others are ours, perhaps with others' packages. */
export const directoriesOfTheSystem: ReadonlySet<string> = new Set([
  ...["/etc", "/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/usr/share"],
  ...["/usr/share/doc", "/usr/share/licenses", "/usr/share/man"],
  ...["/usr/share/man/man1", "/usr/share/man/man5", "/usr/share/man/man7", "/usr/share/man/man8"],
  ...["/usr/lib/systemd", "/usr/lib/systemd/system", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d"],
  ...["/usr/lib/udev", "/usr/lib/udev/rules.d"],
]);

const manualPage = /^\/usr\/share\/man\/man\d\/[^/]+$/;
const licence = /^\/usr\/share\/doc\/[^/]+\/(LICENSE|NOTICE|[^/]*licences\.txt)$/;

/** Quotes, blanks and the signs of globs mean something in these lists; none of our files has them in its name. */
const plainPath = /^[\w/.,:@+-]+$/;

/**
 * Returns the lines of a file for `%files -f`, sorted ("%files section" in rpm's manual, spec.md). A manual page is listed
 * as it will be called after it was compressed. Throws at a name that rpm would take for something else.
 */
export function fileList(entries: readonly StagedEntry[]): string[] {
  return entries
    .filter(({ path }) => !directoriesOfTheSystem.has(path))
    .map(lineOf)
    .sort();
}

function lineOf({ path, kind }: StagedEntry): string {
  if (!plainPath.test(path)) throw new Error(`rpm's file lists cannot have the name ${JSON.stringify(path)}`);
  // Whatever the umask was when the tree was made.
  if (kind === "directory") return `%dir %attr(0755, root, root) ${path}`;
  if (manualPage.test(path)) return `${path}.gz`;
  if (licence.test(path)) return `%license ${path}`;
  // What an administrator has changed stays, and ours comes to lie beside it as .rpmnew.
  if (kind === "file" && path.startsWith("/etc/")) return `%config(noreplace) ${path}`;
  return path;
}
