/** The commands about events as commander knows them. What they mean is event-arguments.ts. */
import { type Command as Program, InvalidArgumentError, Option } from "commander";
import { eventCategories } from "../shared/event-types.ts";
import { adderTo, group, limitOption, several } from "./adding-commands.ts";
import type { Words } from "./words.ts";

export function addEventCommands(program: Program, words: Words): void {
  const command = adderTo(program, words);
  program.commandsGroup("Commands about events:");
  addFilter(command("events", "", "what happened to VMs and their keys, the oldest first"))
    .option("--values", "with the values of keys; a secret's never")
    .option("-f, --follow", "go on with what happens, till interrupted")
    .option("--types", "the types of events instead, and what they mean")
    .addOption(limitOption());
  addNotifyCommands(group(program, "notify", "queues that are told of a VM's states, as StratusLab does it"), words);
  addSubscriptionCommands(group(program, "subscription", "who is told of events, and where"), words);
  command("sinks", "", "where events go, and how far each is");
  addSinkCommands(group(program, "sink", "one of the places where events go"), words);
  addSaveCommands(program, words);
}

function addFilter(command: Program): Program {
  return command
    .option("--type <type>", "events of this type, or of a pattern ('VM.*'); may be repeated", several)
    .option(
      "--category <category>",
      `events of this category; may be repeated (${eventCategories.join(", ")})`,
      severalOf(eventCategories),
    )
    .option("--prefix <keyprefix>", "of events of keys, those of such keys; may be repeated", several);
}

function addNotifyCommands(notify: Program, words: Words): void {
  const command = adderTo(notify, words, "notify ");
  command("list", "", "the queues that a VM's states go to");
  command("add", "", "tell a queue when the VM is created, runs and is done")
    .option("--notify <host,vhost,user,password,queue>", "the queue; may be repeated", several)
    .option("--notify-file <file>", "the queues that a file names, one a line; - is the standard input")
    .option("--vm-id <id>", "what the messages call the VM (default: its name)");
  command("remove", "<id>", "tell a queue no more");
}

function addSubscriptionCommands(subscriptions: Program, words: Words): void {
  const command = adderTo(subscriptions, words, "subscription ");
  command("list", "", "your subscriptions, or all of them");
  command("show", "<id>", "a subscription and its endpoints");
  addSubscriptionProperties(command("add", "<name>", "tell endpoints of events; -v VM only of these VMs'"));
  addSubscriptionProperties(command("change", "<id>", "change a subscription; what is not given stays"))
    .option("--name <name>", "another name")
    .option("--no-values", "without the values of keys")
    .option("--no-contact", "nobody is told")
    .option("--everything", "forget which events it was for; -v, --type, --category and --prefix begin anew")
    .option("--unsigned", "sign no more");
  command("remove", "<id>", "remove a subscription and what waits for it");
}

function addSubscriptionProperties(command: Program): Program {
  return addFilter(command)
    .option("--endpoint <url>", "https:, mailto:, amqp(s):, sms: or command:; may be repeated", several)
    .option("--endpoint-file <file>", "the endpoints that a file names, one a line; - is the standard input")
    .option("--values", "with the values of keys; a secret's never")
    .addOption(new Option("--format <format>", "what an event looks like").choices(["cloudevents", "cloudstack"]))
    .option("--new-secret", "make a secret that webhooks are signed with, which is shown once")
    .option("--secret-file <file>", "sign with the secret in this file; with two, both sign", several)
    .option("--contact <mailto:address>", "who is told when an endpoint fails too often");
}

function addSinkCommands(sink: Program, words: Words): void {
  const command = adderTo(sink, words, "sink ");
  command("show", "<sink>", "all that is known of a sink");
  command("test", "<sink>", "deliver a test event now");
  command("enable", "<sink>", "let a disabled sink have events again, from where it stood");
  command("deliveries", "<sink>", "the last attempts to deliver, the newest first").addOption(limitOption());
  command("dead-letters", "<sink>", "what could not be delivered, the newest first").addOption(limitOption());
  command("redeliver", "<sink> [event...]", "deliver these events again, or all dead letters");
}

function addSaveCommands(program: Program, words: Words): void {
  const save = adderTo(program, words)("save", "", "save a VM's disk image when it has shut down")
    .option("--to <dir>", "a directory that the manager's configuration allows")
    .option("--author-email <address>", "who gets a mail when it is done, or failed")
    .addOption(new Option("--format <format>", "of the image (default: qcow2)").choices(["qcow2", "raw"]))
    .option("--disk <disk>", "which of its disks, as vda (default: the first)")
    .option("--wait", "wait till it is done");
  const command = adderTo(save, words, "save ");
  command("list", "", "images that are to be saved, and those that were");
  command("show", "<id>", "how far the saving of an image is");
  command("cancel", "<id>", "do not save an image, or stop saving it");
}

/** commander's choices are for options that stand once; these are checked one by one. */
function severalOf<T extends string>(choices: readonly T[]) {
  return (value: string, before: T[] = []): T[] => {
    const choice = choices.find((one) => one === value);
    if (choice === undefined) throw new InvalidArgumentError(`Allowed choices are ${choices.join(", ")}.`);
    return [...before, choice];
  };
}
