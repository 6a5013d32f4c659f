"""The command line of a configuration module.

A module ends with::

    main(do_enumerate, {'configure': do_configure, 'cleanup': do_cleanup})

do_enumerate(target) returns a list of parameters as JSON text; each do_TARGET(param) takes the values as JSON text, one
object, and returns one. Oracle's "Developing Oracle VM Template Configuration Modules" has modules written so
(docs.oracle.com, E50251, vmadm-guestadd-template-config-new-modules; E35333, vmutl-guestadd-template-config). The
options are those of ovm-template-config that make sense for a single module.

For Python 2.6 and later, and 3.
"""
import fcntl
import json
import optparse
import os
import sys

USAGE = '%prog [option] target'


def main(enumerate_parameters, targets, arguments=None):
    """Runs what the command line names and exits, with 0 when it went well."""
    parser = _parser()
    options, names = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if len(names) != 1:
        parser.error('expected one target')
    target = names[0]
    if not options.enumerate and target not in targets:
        parser.error('no such target: %s (known: %s)' % (target, ', '.join(sorted(targets))))
    output = _take_output(options.output)
    if options.enumerate:
        answer = enumerate_parameters(target)
        if options.human_readable:
            answer = _in_words(answer)
    else:
        answer = targets[target](_read_values(options))
        if options.human_readable:
            answer = json.dumps(json.loads(answer or '{}'), indent=2, sort_keys=True)
    _write(output, answer or '')
    sys.exit(0)


def _parser():
    parser = optparse.OptionParser(usage=USAGE)
    parser.add_option('-e', '--enumerate', action='store_true', help='list the parameters of the target')
    parser.add_option('--human-readable', action='store_true', help='print for people instead of programs')
    parser.add_option('--stdin', action='store_true', help='read the values from standard input (the default)')
    parser.add_option('--input', type='int', metavar='FD', help='read the values from this file descriptor')
    parser.add_option('--output', type='int', metavar='FD', help='write the answer to this file descriptor')
    return parser


def _take_output(descriptor):
    """Keeps the way for the answer to ourselves: what the module or a program of its prints goes to standard error."""
    output = os.dup(1 if descriptor is None else descriptor)
    # A daemon that the module starts must not hold it open.
    fcntl.fcntl(output, fcntl.F_SETFD, fcntl.fcntl(output, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
    sys.stdout.flush()
    os.dup2(2, 1)
    return output


def _read_values(options):
    """One JSON object as text, of all the objects that are there: `agent -l` prints one a line."""
    values = {}
    decoder = json.JSONDecoder()
    text = _read_text(options).strip()
    while text:
        found, end = decoder.raw_decode(text)
        if not isinstance(found, dict):
            sys.exit('expected JSON objects as values')
        # The value of a secret is null in a list.
        values.update((key, value) for key, value in found.items() if value is not None)
        text = text[end:].lstrip()
    return json.dumps(values)


def _read_text(options):
    descriptor = 0 if options.input is None else options.input
    # A person at a terminal who wants to give values says so.
    if options.input is None and not options.stdin and os.isatty(descriptor):
        return ''
    stream = os.fdopen(os.dup(descriptor), 'rb')
    try:
        return stream.read().decode('utf-8')
    finally:
        stream.close()


def _write(descriptor, answer):
    """UTF-8, whatever the locale is."""
    stream = os.fdopen(descriptor, 'wb')
    try:
        stream.write(answer if isinstance(answer, bytes) else answer.encode('utf-8'))
        stream.write(b'\n')
    finally:
        stream.close()


def _in_words(parameters):
    lines = []
    for parameter in json.loads(parameters or '[]'):
        traits = [name for name in ('required', 'hidden', 'password') if parameter.get(name)]
        what = parameter.get('description', '').strip()
        lines.append('%s: %s%s' % (parameter['key'], what, ' (%s)' % ', '.join(traits) if traits else ''))
    return '\n'.join(lines)
