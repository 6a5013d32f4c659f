/** Makes sure that the domain whose XML virsh printed is the one that was asked for. */
import { CHANNEL_NAME } from "../channel-name.ts";
import { CommandError } from "../cli/failure.ts";
import { type Domain, readDomain } from "./domain-xml.ts";

/** The domain in `xml`, with our channel. Throws CommandError (failed) when it is none, or has not that name or UUID. */
export function readNamedDomain(xml: string, name: string): Domain {
  const details = { vm: name };
  const domain = readDomain(xml, CHANNEL_NAME);
  if (domain === undefined) {
    throw new CommandError("failed", `virsh dumpxml '${name}' printed no domain; does 'virsh list' work?`, details);
  }
  // virsh takes a name that is a number for the id of another domain, and a UUID in either case, which libvirt prints in lower.
  if (domain.name === name || domain.uuid === name.toLowerCase()) return domain;
  throw new CommandError("failed", `libvirt took '${name}' for the VM '${domain.name}'; name it by its UUID`, details);
}
