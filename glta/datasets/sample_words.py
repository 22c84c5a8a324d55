"""The words and sentences from which the sample's books are written."""

_WORDS = {  # category: theme: words of its books
    "Adventure": {
        "sailing": "harbour captain schooner storm lighthouse mutiny island sailor anchor tide "
        "voyage compass",
        "mountains": "summit glacier climber avalanche ridge base-camp rope blizzard expedition "
        "peak valley altitude",
        "jungle": "rainforest river temple explorer canoe jaguar ruins orchid guide fever "
        "waterfall parrot",
    },
    "Crime": {
        "detective": "inspector murder alibi fingerprint suspect clue confession detective "
        "witness corpse motive interrogation",
        "heist": "vault thief diamond safecracker getaway forgery casino alarm blueprint loot "
        "gang museum",
        "courtroom": "judge jury lawyer verdict testimony trial appeal defendant prosecutor "
        "prison innocence courthouse",
    },
    "Science Fiction": {
        "space": "starship galaxy astronaut colony orbit asteroid planet nebula wormhole airlock "
        "alien crew",
        "robots": "android robot circuit algorithm machine consciousness laboratory programmer "
        "code replica factory memory",
        "ruined future": "wasteland drought shelter survivor radiation scavenger virus ash bunker "
        "outbreak ration collapse",
    },
    "Fantasy": {
        "dragons": "dragon knight sword kingdom castle throne prophecy quest armour king beast "
        "flame",
        "witchcraft": "witch spell cauldron potion coven curse familiar raven grimoire charm "
        "moonlight herb",
        "fairy folk": "fairy goblin enchantment elf meadow mushroom riddle changeling troll wish "
        "brook thicket",
    },
    "History": {
        "ancient Rome": "emperor legion gladiator senate centurion villa aqueduct toga chariot "
        "slave conquest forum",
        "world war": "trench soldier regiment bomber resistance occupation telegram bunker nurse "
        "battlefield general armistice",
        "Victorian": "governess manor carriage gaslight orphan inheritance parlour workhouse "
        "railway duchess corset chimney",
    },
    "Home and Food": {
        "baking": "bakery bread flour oven cake pastry sourdough cinnamon recipe chocolate butter "
        "dough",
        "gardening": "garden rose seedling compost greenhouse orchard hedge tulip soil spade "
        "allotment blossom",
        "restaurants": "chef kitchen menu spice restaurant sauce waiter tasting truffle wine "
        "market knife",
    },
    "Nature": {
        "birds": "falcon owl nest feather migration songbird marsh birdwatcher heron wing egg "
        "binoculars",
        "wolves and woods": "wolf forest tracker pine snow hunter cabin deer bear trail pack "
        "wilderness",
        "ocean life": "whale coral dolphin reef octopus diver shark plankton seahorse submarine "
        "lagoon turtle",
    },
    "Sport": {
        "football": "striker goalkeeper stadium coach penalty league referee midfield trophy "
        "supporter derby transfer",
        "horses": "stable jockey racecourse saddle mare gallop foal paddock bridle trainer "
        "steeplechase hoof",
        "cycling": "bicycle peloton sprint climb saddlebag puncture stage cyclist chain velodrome "
        "tour descent",
    },
    "Arts": {
        "music": "violin orchestra conductor melody piano concert composer jazz singer symphony "
        "trumpet rehearsal",
        "painting": "canvas painter portrait studio gallery pigment sketch brush muse easel "
        "fresco sculptor",
        "theatre": "stage actress curtain playwright audience costume understudy rehearsal "
        "spotlight tragedy director applause",
    },
    "Mind and Society": {
        "politics": "senator election parliament scandal campaign minister lobbyist treaty vote "
        "protest ballot coalition",
        "money": "banker stock inflation investor debt startup market merger bankruptcy broker "
        "fortune tax",
        "medicine": "surgeon hospital diagnosis patient vaccine nurse clinic epidemic transplant "
        "scalpel cure ward",
    },
}
# (category, theme, words); in the sentences below a letter in braces stands for one of the words
THEMES = [
    (category, theme, words.split())
    for category, themes in _WORDS.items()
    for theme, words in themes.items()
]

ADJECTIVES = [
    *("quiet", "last", "hidden", "long", "bitter", "golden", "second", "restless"),
    *("broken", "early", "distant", "crooked", "honest", "silent", "strange"),
]
# words that stay small within a title
SMALL = {"a", "an", "and", "at", "beneath", "from", "has", "of", "the"}
PEOPLE = [
    "a young widow",
    "two brothers",
    "a retired teacher",
    "an apprentice",
    "a stubborn daughter",
    "a newcomer",
    "old friends",
    "a reluctant hero",
    "a journalist",
    "three sisters",
    "a stranger",
    "an ageing father",
    "a gifted child",
    "rival families",
]
TITLES = [
    "the {a} and the {b}",
    "the {adjective} {a}",
    "a {a} of {b}",
    "{a} season",
    "beneath the {a}",
    "the {a} keeper",
    "the {a}'s {b}",
    "every {a} has a {b}",
    "{adjective} {a}, {adjective} {b}",
    "letters from the {a}",
    "the {b} at the {a}",
]
OPENINGS = [
    "{person} must choose between the {c} and the {d}.",
    "a {adjective} tale of {a}, {c} and {d}.",
    "for years the {c} was all that {person} knew.",
    "it begins with a {d} and ends with a {c}.",
    "what the {c} hides, the {d} will tell.",
    "{person} and one {adjective} {c}: nobody expected the {d}.",
]
TURNS = [
    "then comes the {e}, and with it the {g} and the {h}.",
    "a story about {e}, {f} and {g}, told with a {adjective} heart.",
    "between {g} and {h}, only the {e} remains.",
    "soon the {e} changes everything, and the {g} is lost to the {h}.",
    "when the {e} fails, the {f} must answer to the {h} and the {g}.",
    "here the {f}, the {g} and the {h} are never what they seem.",
]
