"""Two clients of the PyPI package `irc` that meet on the server at argv[1]:argv[2] and try what people do.

Prints one line for each event that was waited for, in order; ends with code 1 and a reason if one does not come.
"""

import sys
import time

import irc.client

PATIENCE = 60


class Person:
    def __init__(self, reactor, nick):
        self.nick, self.heard = nick, []
        self.connection = reactor.server().connect(sys.argv[1], int(sys.argv[2]), nick)
        self.connection.add_global_handler("all_events", self.hear)

    def hear(self, _connection, event):
        if event.type != "all_raw_messages":
            self.heard.append((event.type, event.source and event.source.nick, event.target, event.arguments))


def wait(reactor, person, kind, *parts):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for index, event in enumerate(person.heard):
            if event[0] == kind and all(part in str(event) for part in parts):
                del person.heard[: index + 1]
                print(person.nick, kind, *parts)
                return event
        reactor.process_once(0.05)
    sys.exit(f"{person.nick} did not get {kind} {parts}, but {person.heard}")


def main():
    reactor = irc.client.Reactor()
    ada, bob = Person(reactor, "ada"), Person(reactor, "bob")
    for person in (ada, bob):
        wait(reactor, person, "welcome")
        wait(reactor, person, "featurelist")
        person.connection.join("#tea")
        wait(reactor, person, "endofnames", "#tea")
    features = ada.connection.features
    assert features.prefix == {"@": "o", "+": "v"}, features.prefix
    assert features.chanmodes[:3] == ["b", "k", "l"], features.chanmodes
    wait(reactor, ada, "join", "bob")
    bob.connection.privmsg("#tea", "hello")
    wait(reactor, ada, "pubmsg", "bob", "hello")
    ada.connection.privmsg("bob", "psst")
    wait(reactor, bob, "privmsg", "ada", "psst")
    ada.connection.topic("#tea", "Tea at 4")
    wait(reactor, bob, "topic", "Tea at 4")
    ada.connection.mode("#tea", "+v bob")
    wait(reactor, bob, "mode", "+v", "bob")
    bob.connection.whois(["ada"])
    wait(reactor, bob, "whoisuser", "ada")
    wait(reactor, bob, "endofwhois")
    ada.connection.kick("#tea", "bob", "enough")
    wait(reactor, bob, "kick", "enough")
    ada.connection.mode("#tea", "+b *!*@*")
    wait(reactor, ada, "mode", "+b")
    bob.connection.join("#tea")
    wait(reactor, bob, "bannedfromchan")
    bob.connection.quit("bye")
    wait(reactor, bob, "error", "bye")
    ada.connection.quit("bye")
    wait(reactor, ada, "error", "bye")


main()
