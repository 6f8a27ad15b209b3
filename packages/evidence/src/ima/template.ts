import { evidenceError } from '../error.ts';

/** Fields of a template, in order, by the template's name (Linux, Documentation/security/IMA-templates.rst). */
const TEMPLATES: ReadonlyMap<string, readonly string[]> = new Map([
  ['ima', ['d', 'n']],
  ['ima-ng', ['d-ng', 'n-ng']],
  ['ima-ngv2', ['d-ngv2', 'n-ng']],
  ['ima-sig', ['d-ng', 'n-ng', 'sig']],
  ['ima-sigv2', ['d-ngv2', 'n-ng', 'sig']],
  ['ima-buf', ['d-ng', 'n-ng', 'buf']],
  ['ima-modsig', ['d-ng', 'n-ng', 'sig', 'd-modsig', 'modsig']],
  [
    'evm-sig',
    ['d-ng', 'n-ng', 'evmsig', 'xattrnames', 'xattrlengths', 'xattrvalues', 'iuid', 'igid', 'imode'],
  ],
]);

const FIELDS: ReadonlySet<string> = new Set([...TEMPLATES.values()].flat());

/** The fields of a template. A custom one is named by its format: `d-ng|n-ng|sig` (kernel parameter ima_template_fmt). */
export function templateFields(template: string, index: number): readonly string[] {
  const known = TEMPLATES.get(template);
  if (known !== undefined) return known;
  const custom = template.split('|');
  if (custom.length > 16 || !custom.every((field) => FIELDS.has(field))) {
    throw evidenceError('IMA_TEMPLATE', 'This entry has a template that is not known here.', {
      pointer: `ima:${index}`,
    });
  }
  return custom;
}
