/** The command about a domain's channel as commander knows it, with virt-xml's options. What they mean is attach-arguments.ts. */
import type { Command as Program } from "commander";
import { adderTo } from "./adding-commands.ts";
import type { Words } from "./words.ts";

export function addAttachCommand(program: Program, words: Words): void {
  adderTo(program, words)("attach", "", "give a VM of libvirt its channel")
    .option("--update", "plug it into the running VM too")
    .option("--confirm", "show the change, and ask before it is made")
    .option("--print-diff", "only show what would change in the VM's definition")
    .option("--print-xml", "only print the changed definition; without -v the XML of the channel, to paste")
    .option("--define", "make the change also where --print-diff or --print-xml is given");
}
