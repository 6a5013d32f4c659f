// What is released, and when: one version for all programs and packages, and the time of its commit in all that is built.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { version } from "../shared/version.ts";

export const projectRoot = join(import.meta.dirname, "..");

export const packageNames = ["vmmessage-agent", "vmmessage", "vmmessage-manager", "vmmessage-ovmd-compat"] as const;
export type PackageName = (typeof packageNames)[number];

export interface Release {
  /** As package.json has it, e.g. "0.2.0-rc.1". */
  version: string;
  /** The same for dpkg and rpm, to which `~` sorts before the end of a version: "0.2.0~rc.1". */
  packageVersion: string;
  /** Seconds since 1970: the commit's, as SOURCE_DATE_EPOCH has it (reproducible-builds.org). */
  sourceDateEpoch: number;
}

/** The release that the work tree would be. SOURCE_DATE_EPOCH, where it is set, is heard before git. */
export async function readRelease(env: NodeJS.ProcessEnv): Promise<Release> {
  return {
    version,
    packageVersion: version.replace("-", "~"),
    sourceDateEpoch: Number(env["SOURCE_DATE_EPOCH"] ?? (await timeOfCommit())),
  };
}

async function timeOfCommit(): Promise<string> {
  const { stdout } = await promisify(execFile)("git", ["log", "-1", "--format=%ct"], { cwd: projectRoot });
  return stdout.trim();
}
