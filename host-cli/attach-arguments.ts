/** From the words of a command line about a domain's channel to a command. */
import { usageError } from "../shared/cli/failure.ts";
import type { AttachCommand, ChannelXmlCommand } from "./attach-command.ts";
import type { CommonOptions } from "./command.ts";
import { givenCredentials } from "./door-arguments.ts";
import type { Options, OwnOptions } from "./words.ts";

/** Throws CommandError (usage). */
export function attachCommand(
  own: OwnOptions,
  options: Options,
  common: CommonOptions,
): AttachCommand | ChannelXmlCommand {
  const { printDiff = false, printXml = false, define = false, update = false, confirm = false } = own;
  const { vm } = common.target;
  assertAsksLibvirt(options, common);
  if (printDiff && printXml) throw usageError("--print-diff and --print-xml are two views of the change; give one");
  if (vm === undefined) {
    if (!printXml || define || update) throw usageError("which VM? name it with -v VM");
    return { ...common, name: "channel xml" };
  }
  if (confirm && common.style !== "transcript") {
    throw usageError(`--confirm shows the change to somebody, and --${common.style} does not`);
  }
  return {
    ...common,
    name: "attach",
    vm,
    shows: printXml ? "xml" : "diff",
    isDryRun: (printDiff || printXml) && !define,
    updates: update,
    confirms: confirm,
  };
}

/** What names another way to a VM would be passed over without a word. */
function assertAsksLibvirt({ socket, socketDir, manager }: Options, { door, login }: CommonOptions): void {
  const remedy = "it asks libvirt on this host, or the one that --connect names";
  if (door.via === "network") {
    const elsewhere = "for a VM there run it there, or give --connect qemu+ssh://HOST/system";
    throw usageError(
      `attach goes through no manager, and -h or VMMESSAGE_HOST names that of ${door.host}; ${elsewhere}`,
    );
  }
  const channel = socket === undefined ? socketDir && "--socket-dir" : "--socket";
  if (channel !== undefined) throw usageError(`${channel} says where a channel is, and attach makes one; ${remedy}`);
  if (manager !== undefined) throw usageError(`attach goes through no manager, and --manager names one; ${remedy}`);
  const given = givenCredentials(login);
  if (given !== undefined) throw usageError(`attach goes through no manager, and ${given} given for one; ${remedy}`);
}
