import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as library from '../src/index.ts';

const at = (path: string) => new URL(path, import.meta.url);

interface Row {
  readonly command: string;
  readonly section: string;
  readonly name: string;
  readonly implemented: string;
  readonly tools: readonly string[];
  readonly file: string;
}

/** The table of commands, as a reader sees it. */
const rows: Row[] = readFileSync(at('../../../docs/tpm-commands.md'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| TPM2_'))
  .map((line) => {
    const cells = line.split('|').map((cell) => cell.trim().replaceAll('`', ''));
    const [, command = '', section = '', name = '', implemented = '', tools = '', file = ''] = cells;
    return { command, section, name, implemented, tools: tools.split(', '), file };
  });

/** Every command of the library, from its source: function, command, section. */
const commands = readdirSync(at('../src/commands/')).flatMap((file) => {
  const source = readFileSync(at(`../src/commands/${file}`), 'utf8');
  const functions = source.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\nexport async function (\w+)/g);
  return [...functions].flatMap(([, comment = '', name = '']) => {
    const cited = /(TPM2_\w+) \(Part 3 section ([\d.]+)\)/.exec(comment.replace(/\s+(?:\* )?/g, ' '));
    return cited === null ? [] : [`${name}: ${cited[1]}, ${cited[2]}`];
  });
});

/** What the library is to speak. */
const DEMANDED =
  `Startup, Shutdown, SelfTest, GetTestResult, GetCapability, GetRandom, PCR_Read, PCR_Extend, PCR_Event,
  CreatePrimary, Create, Load, LoadExternal, ReadPublic, FlushContext, ContextSave, ContextLoad, EvictControl, Quote,
  Certify, CertifyCreation, NV_Certify, Sign, VerifySignature, MakeCredential, ActivateCredential, StartAuthSession,
  PolicySecret, PolicyPCR, PolicyAuthorize, PolicyOR, PolicyCommandCode, PolicyGetDigest, NV_DefineSpace,
  NV_UndefineSpace, NV_Read, NV_ReadPublic, NV_Write, NV_Extend, ReadClock, Unseal, HierarchyChangeAuth, Clear`
    .split(',')
    .map((name) => `TPM2_${name.trim()}`);

describe('the table of commands (docs/tpm-commands.md)', () => {
  it('has every command of the library, with its section, and no other', () => {
    const listed = rows.map(({ name, command, section }) => `${name}: ${command}, ${section}`);
    expect(listed.toSorted()).toEqual(commands.toSorted());
    expect(commands.length).toBeGreaterThan(40);
  });

  it('has every command that the library is to speak', () => {
    expect(DEMANDED.filter((command) => !rows.some((row) => row.command === command))).toEqual([]);
  });

  for (const { command, name, implemented, tools, file } of rows) {
    it(`is true of ${command} (${name})`, () => {
      expect(implemented).toBe('yes');
      expect(library).toHaveProperty(name, expect.any(Function));
      const test = readFileSync(at(`./${file}.test.ts`), 'utf8');
      // `pcrRead` is used by `readPcrs`.
      expect(test).toContain(`${name === 'pcrRead' ? 'readPcrs' : name}(`);
      for (const tool of tools) expect(test).toContain(`'${tool}'`);
    });
  }
});
