/** Which keys a bootstrap can set. */
import { COMMIT_KEY, REPORT_KEY } from "../../shared/bootstrap.ts";
import { checkedKey } from "../../shared/cli/arguments.ts";
import { usageError } from "../../shared/cli/failure.ts";

/** Throws CommandError (usage) for a key that cannot be one, and for those that the bootstrap itself uses. */
export function settableKey(key: string): string {
  if (key === COMMIT_KEY) throw usageError(`'${key}' is set with each bootstrap; --commit says to what`);
  if (key === REPORT_KEY) throw usageError(`'${key}' is where the guest shows its last run, and not to be set`);
  return checkedKey(key);
}
