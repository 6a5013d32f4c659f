// Makes sure that this machine has what judges packages, manual pages and completions in their tests.
import { command, ensureInstalled, isAccessible, type Log } from "./system-packages.ts";

const requirements = [
  command("lintian", "lintian"),
  command("rpmlint", "rpmlint"),
  command("mandoc", "mandoc"),
  command("man", "man-db"),
  command("groff", "groff-base"),
  command("script", "bsdutils"),
  command("shellcheck", "shellcheck"),
  {
    name: "bash-completion",
    debianPackage: "bash-completion",
    isPresent: () => isAccessible("/usr/share/bash-completion/bash_completion"),
  },
];

/** Installs what is missing, as root; otherwise the error names it. */
export async function ensurePackageCheckers(log: Log): Promise<void> {
  await ensureInstalled("the tests of packages", requirements, log);
}
