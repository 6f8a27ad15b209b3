#!/usr/bin/env node
import { COMMANDS } from './commands/all.ts';
import { start } from './start.ts';

void start(COMMANDS);
