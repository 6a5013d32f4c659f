/** A template's files with the values in them: nothing on the disk is touched. */
import { numbersOf } from "../../../shared/users.ts";
import type { RenderedFile } from "../files/replacement.ts";
import { ModuleError } from "../module.ts";
import type { FileTemplate } from "./check-files.ts";
import type { Variables } from "./variables.ts";

const DEFAULT_MODE = 0o644;
const SECRET_MODE = 0o600;

/** Throws ModuleError that names the file. */
export function renderFiles(files: readonly FileTemplate[], variables: Variables): RenderedFile[] {
  return files.map((file) => {
    try {
      return renderFile(file, variables);
    } catch (error) {
      throw new ModuleError(`${file.path}: ${(error as Error).message}`, [], { cause: error });
    }
  });
}

export function holdsSecret({ template }: FileTemplate, { secret }: Variables): boolean {
  return template.variables.some((name) => secret.has(name));
}

function renderFile(file: FileTemplate, variables: Variables): RenderedFile {
  const { path, owner, group, template } = file;
  const { uid = 0, gid = 0 } = numbersOf({ owner, group });
  const mode = file.mode ?? (holdsSecret(file, variables) ? SECRET_MODE : DEFAULT_MODE);
  return { path, content: Buffer.from(template.render(variables.values)), uid, gid, mode };
}
