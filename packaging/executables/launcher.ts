// The main script of every executable. CALLED_AS and SIDE_FILES are filled in when it is built.
import { basename, dirname } from "node:path";
import { getRawAsset } from "node:sea";
import { exitCodes } from "../../shared/protocol/errors.ts";
import { NoRoomError, ProgramLoader } from "./program-loader.ts";

declare const CALLED_AS: Readonly<Record<string, string>>;
declare const SIDE_FILES: Readonly<Record<string, readonly string[]>>;

function readAsset(name: string): Buffer | undefined {
  try {
    return Buffer.from(getRawAsset(name));
  } catch {
    return undefined;
  }
}

const loader = new ProgramLoader({
  readAsset,
  requireBuiltin: require,
  // Anywhere else, others than root might have put something there.
  home: dirname(process.execPath) === "/usr/bin" ? "/usr/lib/vmmessage" : undefined,
  sideFiles: SIDE_FILES,
});
const name = basename(process.argv0);
try {
  loader.load(CALLED_AS[name] ?? CALLED_AS[""] ?? "");
} catch (error) {
  if (!(error instanceof NoRoomError)) throw error;
  process.stderr.write(`${name}: ${error.message}\n`);
  process.exitCode = exitCodes.failed;
}
