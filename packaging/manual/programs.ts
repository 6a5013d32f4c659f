/** The programs as commander knows them, for what is made of their definitions. Each call makes a new one, which prints nothing. */
import type { Command as Program } from "commander";
import { makeOvmdProgram, makeTemplateConfigProgram } from "../../agent/oracle-names.ts";
import { makeProgram as makeAgentProgram } from "../../agent/program.ts";
import { makeProgram as makeHostProgram } from "../../host-cli/program.ts";
import { makeProgram as makeManagerProgram } from "../../manager/parse-arguments.ts";

const nowhere = (): undefined => undefined;

export const programs = {
  agent: () => makeAgentProgram(nowhere, nowhere),
  ovmd: () => makeOvmdProgram(nowhere),
  "ovm-template-config": () => makeTemplateConfigProgram(nowhere),
  vmmessage: () => {
    const words = { command: undefined, operands: [], values: [], own: {} };
    return makeHostProgram(words, { print: nowhere, namesSecrets: false });
  },
  vmmessaged: () => makeManagerProgram(nowhere, nowhere),
} satisfies Record<string, () => Program>;
