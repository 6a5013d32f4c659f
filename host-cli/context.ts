/** What a command runs in, so that no command touches the process itself. */
import type { Output } from "../shared/cli/output.ts";
import type { Asking } from "../shared/cli/password-reader.ts";

export interface Context extends Asking {
  output: Output;
  environment: Readonly<Record<string, string | undefined>>;
  /** The user who runs this. */
  uid: number;
  home: string;
}
