/** From the words of a command line about a guest's configuration to a command. */
import { checkedKey, keyAndValue } from "../shared/cli/arguments.ts";
import { usageError } from "../shared/cli/failure.ts";
import type { BootstrapCommand } from "./bootstrap-command.ts";
import type { GivenKey, SecretSource } from "./bootstrap/sources.ts";
import type { CommonOptions } from "./command.ts";
import type { OwnOptions } from "./words.ts";

/** What a report can say of it (shared/bootstrap.ts), so that ours is known again. */
const MAX_COMMIT_LENGTH = 256;

/** Throws CommandError (usage). */
export function bootstrapCommand(own: OwnOptions, common: CommonOptions): BootstrapCommand {
  const { file, set = [], secret = [], secretFile = [], commit, wait: follows = true } = own;
  if ([file, set[0], secret[0], secretFile[0], commit].every((given) => given === undefined)) {
    throw usageError(
      "bootstrap: what is to be set? --file FILE, --set KEY=VALUE, --secret KEY or --secret-file KEY=PATH",
    );
  }
  if (file === "") throw usageError("--file: the path of the values is empty");
  assertCommit(commit);
  const values = set.map(givenKey);
  const prompted = secret.map((key): SecretSource => ({ from: "prompt", key: checkedKey(key), prompt: key }));
  return {
    ...common,
    name: "bootstrap",
    file,
    values,
    secrets: [...prompted, ...secretFile.map(secretFromFile)],
    commit,
    follows,
  };
}

function assertCommit(commit: string | undefined): void {
  if (commit === undefined) return;
  if (commit === "") throw usageError("--commit: it is empty; a guest could not tell it from none");
  if (commit.length > MAX_COMMIT_LENGTH)
    throw usageError(`--commit: it is longer than ${MAX_COMMIT_LENGTH} characters`);
}

function givenKey(pair: string): GivenKey {
  const source = keyAndValue(pair);
  return { key: checkedKey(source.key), value: pair.slice(source.key.length + 1) };
}

function secretFromFile(pair: string): SecretSource {
  const at = pair.indexOf("=");
  if (at === -1 || at === pair.length - 1) throw usageError(`--secret-file: '${pair}' is not KEY=PATH`);
  return { from: "file", key: checkedKey(pair.slice(0, at)), path: pair.slice(at + 1) };
}
