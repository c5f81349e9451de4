import pandas as pd, sys, nbformat
T,NB=sys.argv[1],sys.argv[2]
R=lambda n: pd.read_csv(f"{T}/{n}.csv")
def f(x,d=2):
    t=f"{abs(x):.{d}f}"; t=t[1:] if t.startswith("0.") else t
    return ("-" if x<0 else "")+t
b=R("blocks").set_index(["runtime","block"]).set_axis(["x","lo","hi"],axis=1)
ro=R("roofline").set_index(["block","name"])
d=R("of_digits").set_index("variant"); ph=R("of_photos").set_index("variant")
dg=R("digits").groupby("network").val.mean(); lo=R("looks").set_index("network")
st=R("steps").set_index("channels").set_axis(["x","lo","hi"],axis=1)
pa=R("pairs"); ru=R("reuse")
for x in (b,ro[["macs_per_byte","gmacs_per_s_clocked","of_roof_pct_clocked"]],d[["accuracy","val","parameters","macs","disk_bytes","speedup_b1_clocked","speedup_b1_high_clocked","speedup_large_clocked","speedup_large_high_clocked"]],ph[["accuracy","val","parameters","macs","disk_bytes","train_seconds","speedup_b1_clocked","speedup_b1_high_clocked","speedup_large_clocked","speedup_large_high_clocked"]],lo,st,pa,ru,dg): print(x.to_string())
nb=nbformat.read(NB,4)
def r(a,new):
    cs=[c for c in nb.cells if c.cell_type=='markdown' and a in c.source]; assert len(cs)==1,(len(cs),a[:80]); assert cs[0].source.count(a)==1; cs[0].source=cs[0].source.replace(a,new)
sees=[c for c in nb.cells if '**What we see.** TODO-REF' in c.source]; assert len(sees)==5,len(sees)
def see(i,new): sees[i].source=sees[i].source.replace('**What we see.** TODO-REF',new,1)
sep,ort,fire,cre,dark=(b.loc[k] for k in (("torch","separable"),("onnxruntime","separable"),("torch","fire"),("torch","crelu"),("torch","darknet")))
r("TODO-REF With 7.89 times fewer MACs the separable block is … times as fast in torch, … in onnxruntime.",
f"At the reference the separable block, with 7.89 times fewer MACs, is {sep.x:.2f} times as fast in torch ({sep.lo:.2f} to {sep.hi:.2f}), and {ort.x:.2f} in onnxruntime. Fire and Darknet, with 12 and 13 times fewer, are {fire.x:.2f} and {dark.x:.2f} times as fast in torch. C.ReLU saves half of the MACs, and is {cre.x:.2f} times as fast.")
dw,pl=ro.loc[("separable","0")],ro.loc[("plain","0")]
c=[c for c in nb.cells if 'TODO-REF The depthwise layer' in c.source][0]; ps=c.source.split('\n\n'); 
ps[0]=f"**What we see.** The depthwise layer does 1.1 MACs for each byte, so its roof is low. At the reference it reaches {dw.of_roof_pct_clocked:.1f} % of it, {dw.gmacs_per_s_clocked:.1f} GMAC/s, where the plain layer makes {pl.gmacs_per_s_clocked:.1f}. So bytes bound it but do not explain its time: torch's way of computing it does. In onnxruntime, where the same bytes move, the separable block is {ort.x:.2f} times as fast as the plain one."
c.source='\n\n'.join(ps)
